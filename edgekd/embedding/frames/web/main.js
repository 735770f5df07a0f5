// The page: pictures, a video or the camera in, the result over them, and how fast that goes.

import { Student } from "./app.js";
import { INPUTS, LIVE, TITLE } from "./config.js";
import { has_simd, threads } from "./graph.js";
import * as recipe from "./student.js";
import { raws, verify } from "./verify.js";

const at = (id) => document.getElementById(id);
const [first] = Object.keys(INPUTS);
const cutouts = Object.fromEntries(Object.entries(INPUTS).filter(([, how]) => how.includes(" of ")).map(([mask, how]) => [how.split(" of ")[1], mask]));
const asked = Object.entries(INPUTS).filter(([, how]) => /^(picture|frames|mask of)/.test(how));
const canvas = at("canvas"), context = canvas.getContext("2d"), video = at("video");
const given = {}; // what the page was given, by input
let student, running = null, times = [], unit = 1;

const fail = (error) => {
  at("error").textContent = error?.message ?? String(error);
  console.error(error);
};

// What is drawn on a canvas as a picture, transparency over white, and its transparency where there is any.
function pixels(source, width, height) {
  const whole = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  whole.drawImage(source, 0, 0);
  const { data } = whole.getImageData(0, 0, width, height), rgb = new Uint8Array(width * height * 3), alpha = new Uint8Array(width * height);
  let transparent = false;
  for (let k = 0; k < alpha.length; ++k) {
    const a = (alpha[k] = data[4 * k + 3]);
    transparent ||= a < 128;
    for (let c = 0; c < 3; ++c) rgb[3 * k + c] = a === 255 ? data[4 * k + c] : Math.round((data[4 * k + c] * a + 255 * (255 - a)) / 255);
  }
  return { rgb: { width, height, channels: 3, data: rgb }, alpha: transparent ? { width, height, channels: 1, data: alpha } : null };
}

// A picture on the page's canvas, a small one enlarged; what is drawn over it then is in the picture's own pixels.
function show(picture) {
  const { width, height } = picture, zoom = Math.min(8, Math.max(1, 720 / Math.max(width, height)));
  const image = new ImageData(width, height);
  for (let k = 0; k < width * height; ++k) {
    for (let c = 0; c < 3; ++c) image.data[4 * k + c] = picture.data[3 * k + c];
    image.data[4 * k + 3] = 255;
  }
  const own = new OffscreenCanvas(width, height);
  own.getContext("2d").putImageData(image, 0, 0);
  canvas.width = Math.round(width * zoom);
  canvas.height = Math.round(height * zoom);
  context.setTransform(zoom, 0, 0, zoom, 0, 0);
  context.drawImage(own, 0, 0);
  unit = Math.max(width, height) / 900;
}

const drawn = (result) => recipe.draw(context, result, unit);

function timed(milliseconds) {
  times = [...times.slice(-119), milliseconds];
  const sorted = [...times].sort((a, b) => a - b), part = (share) => `${sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(1)} ms`;
  at("p50").textContent = part(0.5);
  at("p90").textContent = part(0.9);
}

const missing = () => Object.entries(INPUTS).filter(([name, how]) => !how.endsWith("?") && !given[name]).map(([name]) => name);
const infer = (raw) => (LIVE ? student.frame(raw, LIVE) : student.predict(raw));

// What is prepared once, where the bundle has a graph for that.
async function prepared() {
  if (LIVE && !missing().filter((name) => name !== first).length) await student.prepare_from(given, LIVE);
}

async function once() {
  const lacks = missing();
  if (lacks.length) {
    at("words").textContent = `waiting for ${lacks.join(", ")}`;
    if (given[first]) show(given[first]);
    return;
  }
  student.reset();
  const begun = performance.now(), result = await infer(given);
  timed(performance.now() - begun);
  show(recipe.picture_of?.(result) ?? given[first]);
  drawn(result);
  at("words").textContent = recipe.words(result);
}

// One frame after another, from a video or the camera, until it ends or is stopped.
async function play(stop) {
  student.reset();
  const began = performance.now();
  let last = null, frames = 0;
  times = [];
  while (!stop.now && !video.ended) {
    const begun = performance.now();
    const { rgb } = pixels(video, video.videoWidth, video.videoHeight);
    const raw = recipe.next_raw({ ...given, [first]: rgb, sequence: 0, frame: frames }, last);
    if (recipe.forecasts) {
      show(rgb);
      if (last) drawn(last); // what was said of this frame when only those before it were known
      last = await infer(raw);
    } else {
      last = await infer(raw);
      show(recipe.picture_of?.(last) ?? rgb);
      drawn(last);
    }
    timed(performance.now() - begun);
    frames += 1;
    at("fps").textContent = ((1000 * frames) / (performance.now() - began)).toFixed(1);
    at("words").textContent = recipe.words(last);
    await new Promise(requestAnimationFrame);
  }
}

async function start(prepare_video) {
  await halt();
  const lacks = missing().filter((name) => name !== first);
  if (lacks.length) throw new Error(`${lacks.join(", ")} first: then the camera or a video`);
  await prepare_video();
  await video.play();
  const stop = { now: false };
  at("stop").hidden = false;
  running = { stop, done: play(stop).catch(fail).finally(() => (at("stop").hidden = true)) };
}

async function halt() {
  if (!running) return;
  running.stop.now = true;
  await running.done;
  running = null;
  video.pause();
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

async function take(name, file, label) {
  at("error").textContent = "";
  if (name === first && file.type.startsWith("video/")) {
    await start(async () => {
      video.src = URL.createObjectURL(file);
      await new Promise((resolve, reject) => {
        video.onloadeddata = resolve;
        video.onerror = () => reject(new Error(`${file.name} cannot be played by this browser`));
      });
    });
    return;
  }
  await halt();
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    const kinds = name === first ? "a JPEG, PNG or WebP picture, or a video" : "a JPEG, PNG or WebP picture";
    throw new Error(`${file.name} is not a picture that this browser knows.\nGive ${kinds}.`);
  }
  const { rgb, alpha } = pixels(bitmap, bitmap.width, bitmap.height), mask = cutouts[name];
  if (INPUTS[name].startsWith("mask")) {
    given[name] = alpha ?? { ...rgb, channels: 1, data: Uint8Array.from({ length: rgb.width * rgb.height }, (_, k) => Math.max(...rgb.data.subarray(3 * k, 3 * k + 3))) };
  } else {
    given[name] = rgb;
    if (mask) {
      if (alpha) given[mask] = alpha;
      else {
        delete given[mask];
        at("error").textContent = `${file.name} has no transparency: give ${mask} too, white where the ${name} are`;
      }
    }
  }
  label.querySelector("small").textContent = `${file.name}, ${bitmap.width} x ${bitmap.height} px`;
  label.querySelector("img").src = URL.createObjectURL(file);
  if (name !== first) await prepared();
  await once();
}

for (const [name, how] of asked) {
  const label = document.createElement("label");
  label.innerHTML = `<b></b><small>drop a picture, or click</small><img alt="" /><input type="file" />`;
  label.querySelector("b").textContent = name;
  const input = label.querySelector("input");
  input.id = `input-${name}`;
  input.accept = name === first ? "image/*,video/*" : "image/*";
  if (how.startsWith("mask")) label.querySelector("small").textContent = "a mask, where the picture has no transparency";
  input.addEventListener("change", () => input.files.length && take(name, input.files[0], label).catch(fail));
  label.addEventListener("dragover", (event) => (event.preventDefault(), label.classList.add("over")));
  label.addEventListener("dragleave", () => label.classList.remove("over"));
  label.addEventListener("drop", (event) => {
    event.preventDefault();
    label.classList.remove("over");
    if (event.dataTransfer.files.length) take(name, event.dataTransfer.files[0], label).catch(fail);
  });
  at("inputs").append(label);
}

at("camera").addEventListener("click", () => {
  at("error").textContent = "";
  start(async () => {
    if (!navigator.mediaDevices) throw new Error("no camera: a page may use one over https or on localhost alone");
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    } catch (error) {
      throw new Error(`no camera: ${error.message || error.name}. Give a picture or a video instead.`);
    }
    await new Promise((resolve) => (video.onloadeddata = resolve));
  }).catch(fail);
});
at("stop").addEventListener("click", () => halt().catch(fail));

async function busy(button, work) {
  await halt();
  button.disabled = true;
  at("checks").replaceChildren();
  await work().catch(fail);
  button.disabled = false;
}

const line = (text, kind = "") => {
  const item = document.createElement("li");
  item.textContent = text;
  item.className = kind;
  at("checks").append(item);
};

at("verify").addEventListener("click", () =>
  busy(at("verify"), async () => {
    const checks = await verify(student);
    for (const { name, found, limit, passed } of checks) line(`${name}: ${found.toPrecision(3)}, limit ${limit.toPrecision(3)}`, passed ? "ok" : "fail");
    document.body.dataset.verified = checks.every(({ passed }) => passed) ? "ok" : "fail";
    await prepared(); // the check prepared the vectors' garments
  }),
);

at("time").addEventListener("click", () =>
  busy(at("time"), async () => {
    const samples = await raws(), begun = performance.now(), fresh = await Student.load();
    await fresh.predict(samples[0]);
    const first_ms = performance.now() - begun, all = [];
    for (let sum = 0; sum < 3000 || all.length < 10; sum += all.at(-1)) {
      const start_at = performance.now();
      await fresh.predict(samples[all.length % samples.length]);
      all.push(performance.now() - start_at);
    }
    all.sort((a, b) => a - b);
    const found = { first_ms, p50_ms: all[Math.floor(all.length / 2)], p90_ms: all[Math.floor(all.length * 0.9)], calls: all.length };
    document.body.dataset.timed = JSON.stringify(found);
    line(`first result ${first_ms.toFixed(0)} ms, then p50 ${found.p50_ms.toFixed(1)} ms, p90 ${found.p90_ms.toFixed(1)} ms`);
  }),
);

at("title").textContent = document.title = TITLE;
try {
  student = await Student.load();
  at("runtime").textContent = `SIMD, ${threads()} thread${threads() > 1 ? "s" : ""}`;
  document.body.dataset.ready = "yes";
} catch (error) {
  at("runtime").textContent = has_simd() ? "failed" : "no SIMD";
  for (const button of document.querySelectorAll("button, input")) button.disabled = true;
  fail(error);
}
