// Everything that this app computes, against what the bundle recorded at export.

import { DECODED_TOLERANCE, FEEDS_SHIFT, FEEDS_TOLERANCE, LIVE_TOLERANCES, OUTPUTS_TOLERANCE, SAMPLES, VECTORS } from "./config.js";
import { read_npy, row, to_raw } from "./npy.js";
import { postprocess, preprocess } from "./student.js";

const map = (object, change) => Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));

async function arrays_in(folder) {
  const files = VECTORS.filter((file) => file.startsWith(`${folder}/`) && !file.slice(folder.length + 1).includes("/"));
  return Object.fromEntries(await Promise.all(files.map(async (file) => [file.slice(folder.length + 1, -4), await read_npy(`vectors/${file}`)])));
}

async function samples_of(folder) {
  const stacked = await arrays_in(folder);
  return Array.from({ length: SAMPLES }, (_, k) => map(stacked, (array) => row(array, k)));
}

export const raws = async () => (await samples_of("raw")).map((raw) => map(raw, to_raw));

// max|a-b| / max(1, max|b|); of pictures in grey levels over 255, beyond the one that rounding may cost.
function distance(found, recorded) {
  if (typeof recorded.data === "string") return found === recorded.data ? 0 : Infinity;
  const ours = found?.data ?? [found].flat(), theirs = recorded.data;
  if (ours.length !== theirs.length) return Infinity;
  let gap = 0, most = 1;
  for (let k = 0; k < theirs.length; ++k) {
    const a = Number(ours[k]), b = Number(theirs[k]);
    if (!Number.isFinite(a) || !Number.isFinite(b)) return Infinity;
    gap = Math.max(gap, Math.abs(a - b));
    most = Math.max(most, Math.abs(b));
  }
  if (recorded.shape.length === 0) return gap === 0 ? 0 : Infinity;
  return theirs instanceof Uint8Array ? Math.max(0, gap - 1) / 255 : gap / most;
}

const farthest = (found, recorded) => Math.max(...Object.entries(recorded).map(([name, value]) => distance(found[name], value)));

// Each box to its nearest on the other side, whatever their order. One whose score is within limit of the least may be
// on one side alone: another rounding decides on it.
function boxes_distance(found, recorded, limit) {
  const list = ({ boxes, scores }) => Array.from(scores.data, (score, k) => [...boxes.data.slice(5 * k, 5 * k + 5), score]);
  const ours = list(found), theirs = list(recorded);
  if (!ours.length || !theirs.length) return ours.length === theirs.length ? 0 : Infinity;
  const least = Math.max(ours.at(-1)[5], theirs.at(-1)[5]) + limit;
  const most = Math.max(1, ...theirs.flatMap((box) => box.slice(1, 5).map(Math.abs)));
  const gap = (a, b) => (a[0] !== b[0] ? Infinity : Math.max(...[1, 2, 3, 4].map((c) => Math.abs(a[c] - b[c]) / most), Math.abs(a[5] - b[5])));
  const one_way = (some, others) => Math.max(0, ...some.filter((box) => box[5] > least).map((box) => Math.min(...others.map((other) => gap(box, other)))));
  return Math.max(one_way(ours, theirs), one_way(theirs, ours));
}

export async function verify(student) {
  const feeds = await samples_of("feeds"), outputs = await samples_of("outputs"), own = await raws(), checks = [];
  const told = (name, found, limit) => checks.push({ name, found, limit, passed: found <= limit });
  const folders = [...new Set(VECTORS.filter((file) => file.startsWith("varied/")).map((file) => file.split("/")[1]))].sort();
  const varied = await Promise.all(folders.map(async (k) => {
    const [raw, feed, output, result] = await Promise.all(["raw", "feeds", "outputs", "results"].map((part) => arrays_in(`varied/${k}/${part}`)));
    return { raw: map(raw, to_raw), feed, output, result };
  }));
  const results = await Promise.all(own.map((_, k) => arrays_in(`results/${String(k).padStart(3, "0")}`)));
  const spec = student.main.spec;

  let gap = 0, shift = 0;
  for (const { raw, feed } of [...own.map((raw, k) => ({ raw, feed: feeds[k] })), ...varied]) {
    const made = preprocess(raw, spec);
    for (const [name, { data }] of Object.entries(feed)) {
      if (made[name].data.length !== data.length) gap = Infinity;
      let sum = 0;
      data.forEach((value, k) => {
        gap = Math.max(gap, Math.abs(made[name].data[k] - value));
        sum += made[name].data[k] - value;
      });
      // In grey levels: two resamplers' rounding cancels out in the mean, another constant does not.
      const image = spec.inputs.find((tensor) => tensor.name === name).image, level = image ? image.scale / image.std[0] : 1;
      shift = Math.max(shift, Math.abs(sum / data.length / level));
    }
  }
  told("pre-processing, largest gap", gap, FEEDS_TOLERANCE);
  told("pre-processing, shift of the mean in grey levels", shift, FEEDS_SHIFT);

  student.reset();
  let far = 0;
  for (let k = 0; k < SAMPLES; ++k) far = Math.max(far, farthest(await student.main.run(feeds[k]), outputs[k]));
  told("outputs", far, OUTPUTS_TOLERANCE);

  const decoded = [...own.map((raw, k) => ({ raw, output: outputs[k], result: results[k] })), ...varied];
  told("post-processing", Math.max(...decoded.map(({ raw, output, result }) => farthest(postprocess(output, raw, spec), result))), DECODED_TOLERANCE);

  student.reset();
  const limit = Math.max(OUTPUTS_TOLERANCE, DECODED_TOLERANCE);
  far = 0;
  for (let k = 0; k < SAMPLES; ++k) {
    const found = await student.predict(own[k]);
    far = Math.max(far, results[k].scores ? boxes_distance(found, results[k], limit) : farthest(found, results[k]));
  }
  told("result", far, limit);

  for (const [name, tolerance] of Object.entries(LIVE_TOLERANCES)) {
    const wanted = await samples_of(`live/${name}`), live = await student.live(name);
    far = 0;
    for (let k = 0; k < SAMPLES; ++k) {
      await student.prepare(feeds[k], name);
      const fed = Object.fromEntries(Object.entries(feeds[k]).filter(([input]) => live.spec.inputs.some((tensor) => tensor.name === input)));
      far = Math.max(far, farthest(await live.run(fed), wanted[k]));
    }
    told(`outputs of ${name}, prepared`, far, tolerance);
  }
  student.reset();
  return checks;
}
