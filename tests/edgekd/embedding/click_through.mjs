// Clicks through an app's page in headless Chromium, as a person would, and prints what the page showed as JSON.
// node click_through.mjs APP PLAN.json; playwright-core is found in the app's node_modules.
//   plan: {time_only: bool?, files: {input: path}, bad: path, video: path?, camera: bool, screenshots: folder, flags: [...], env: {...}}
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [app, plan_file] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(plan_file));
const { chromium } = createRequire(join(app, "node_modules", "x.js"))("playwright-core");
const server = spawn("node", [join(app, "serve.mjs"), "0"], { env: { ...process.env, ...plan.env } });
const url = await new Promise((resolve) => server.stdout.once("data", (text) => resolve(String(text).trim())));
const flags = ["--no-sandbox", ...(plan.camera ? ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] : []), ...(plan.flags ?? [])];
const browser = await chromium.launch({ executablePath: plan.chromium, args: flags });
const page = await (await browser.newContext({ viewport: { width: 1280, height: 760 }, permissions: plan.camera ? ["camera"] : [] })).newPage();
const told = { errors: [], requests: [] };
page.on("pageerror", (error) => told.errors.push(String(error)));
page.on("request", (request) => { if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url())) told.requests.push(request.url()); });
const text = (id) => page.locator(`#${id}`).textContent();
const shot = (name) => page.screenshot({ path: join(plan.screenshots, `${name}.png`) });
try {
  await page.goto(url);
  await page.waitForFunction(() => document.body.dataset.ready || document.getElementById("error").textContent, null, { timeout: 120000 });
  told.runtime = await text("runtime");
  told.start_error = await text("error");
  if (plan.time_only) {
    await page.locator("#verify").click();
    await page.waitForFunction(() => document.body.dataset.verified, null, { timeout: 240000 });
    told.verified = await page.evaluate(() => document.body.dataset.verified);
    await page.locator("#time").click();
    await page.waitForFunction(() => document.body.dataset.timed, null, { timeout: 240000 });
    told.timed = JSON.parse(await page.evaluate(() => document.body.dataset.timed));
  } else if (!told.start_error) {
    if (plan.bad) {
      await page.locator(`#input-${Object.keys(plan.files)[0]}`).setInputFiles(plan.bad);
      await page.waitForFunction(() => document.getElementById("error").textContent);
      told.bad = await text("error");
    }
    for (const [name, path] of Object.entries(plan.files)) {
      await page.locator(`#input-${name}`).setInputFiles(path);
      await page.waitForFunction((id) => !document.getElementById(id).parentElement.querySelector("small").textContent.includes("click"), `input-${name}`);
    }
    await page.waitForFunction(() => /\d/.test(document.getElementById("p50").textContent), null, { timeout: 60000 });
    told.words = await text("words");
    told.error = await text("error");
    await shot("picture");
    await page.locator("#verify").click();
    await page.waitForFunction(() => document.body.dataset.verified || document.getElementById("error").textContent, null, { timeout: 240000 });
    told.verified = await page.evaluate(() => document.body.dataset.verified);
    told.checks = await page.locator("#checks li").allTextContents();
    await shot("verified");
    if (plan.video || plan.camera) {
      if (plan.video) await page.locator(`#input-${Object.keys(plan.files)[0]}`).setInputFiles(plan.video);
      else await page.locator("#camera").click();
      await page.waitForFunction(() => Number(document.getElementById("fps").textContent) > 0, null, { timeout: 60000 });
      await page.waitForTimeout(1500);
      told.fps = await text("fps");
      told.moving_words = await text("words");
      await shot("moving");
      if (await page.locator("#stop").isVisible()) await page.locator("#stop").click();
    } else {
      await page.locator("#camera").click();
      await page.waitForFunction(() => document.getElementById("error").textContent, null, { timeout: 30000 });
      told.no_camera = await text("error");
    }
    await page.locator("#time").click();
    await page.waitForFunction(() => document.body.dataset.timed, null, { timeout: 120000 });
    told.timed = JSON.parse(await page.evaluate(() => document.body.dataset.timed));
  }
} catch (error) {
  told.failed = String(error);
  told.error = await text("error").catch(() => "");
  await shot("failed").catch(() => {});
} finally {
  console.log(JSON.stringify(told));
  await browser.close();
  server.kill();
}
