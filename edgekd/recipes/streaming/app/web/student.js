// Streaming detection: from a frame to the boxes of the next one.

import { CANDIDATES, CLASSES, CONFIDENCE, GREY, MOST, OVERLAP } from "./config.js";
import { clamp, normalized, picture, pictured, reduced, resized, size_of, to_picture } from "./picture.js";

const f32 = Math.fround;
const SHOWN = 0.3; // score from which a box is drawn

// Another sequence, or frames that are missing.
export const restarts = (raw, before) =>
  before === null || raw.sequence === undefined || before.sequence === undefined || raw.sequence !== before.sequence || raw.frame !== before.frame + 1;

const ratio_of = ({ width, height }, into) => Math.min(into[0] / width, into[1] / height);

// The picture in the upper left, resized with its proportions, the rest grey. What is twice as large or more is first
// averaged over whole squares of pixels.
function letterbox(from, into, resampler) {
  if (from.width === into[0] && from.height === into[1]) return from;
  const ratio = ratio_of(from, into), width = Math.max(1, Math.trunc(from.width * ratio)), height = Math.max(1, Math.trunc(from.height * ratio));
  const by_x = Math.max(1, Math.trunc(from.width / width)), by_y = Math.max(1, Math.trunc(from.height / height));
  const reduces = resampler !== "nearest" && (by_x > 1 || by_y > 1), smaller = reduces ? reduced(from, by_x, by_y) : from;
  const box = reduces ? [0, 0, from.width / by_x, from.height / by_y] : [0, 0, from.width, from.height];
  const fitted = resized(smaller, box, width, height, resampler), canvas = picture(into[0], into[1], 3, GREY);
  for (let y = 0; y < height; ++y) canvas.data.set(fitted.data.subarray(y * width * 3, (y + 1) * width * 3), y * into[0] * 3);
  return canvas;
}

export function preprocess(raw, graph) {
  const input = pictured(graph);
  return { [input.name]: normalized(letterbox(to_picture(raw.image, "image"), size_of(input), input.image.resampler), input) };
}

// Whether the later box goes: same class, and intersection over union above the threshold.
function clashes(a, b) {
  if (a.kind !== b.kind) return false;
  const across = f32(Math.min(a.x1, b.x1) - Math.max(a.x0, b.x0)), down = f32(Math.min(a.y1, b.y1) - Math.max(a.y0, b.y0));
  const inter = f32(Math.max(across, 0) * Math.max(down, 0));
  const area = (box) => f32(f32(box.x1 - box.x0) * f32(box.y1 - box.y0));
  return inter > f32(f32(OVERLAP) * f32(f32(area(a) + area(b)) - inter));
}

// Rows of the network (centre x, y, width, height, whether there is anything, classes) to boxes, best first.
function detections({ shape, data }) {
  const width = shape.at(-1), least = f32(CONFIDENCE), found = [];
  for (let at = 0; at < data.length; at += width) {
    if (!(data[at + 4] >= least)) continue;
    let kind = 0;
    for (let c = 1; c < width - 5; ++c) if (data[at + 5 + c] > data[at + 5 + kind]) kind = c;
    const score = f32(data[at + 4] * data[at + 5 + kind]), half_x = f32(data[at + 2] / 2), half_y = f32(data[at + 3] / 2);
    if (score >= least)
      found.push({ x0: f32(data[at] - half_x), y0: f32(data[at + 1] - half_y), x1: f32(data[at] + half_x), y1: f32(data[at + 1] + half_y), score, kind });
  }
  found.sort((a, b) => b.score - a.score);
  const stay = [];
  for (const box of found.slice(0, CANDIDATES)) {
    if (stay.length === MOST) break;
    if ([box.x0, box.y0, box.x1, box.y1].every(Number.isFinite) && !stay.some((better) => clashes(better, box))) stay.push(box);
  }
  return stay;
}

// boxes: (n, 5) class, x0, y0, x1, y1 in px of the raw picture; scores (n,).
export function postprocess(outputs, raw, graph) {
  const { width, height } = raw.image, ratio = f32(ratio_of(raw.image, size_of(pictured(graph))));
  const found = detections(outputs[graph.outputs.find(({ name }) => !(name in graph.state)).name]);
  const boxes = found.flatMap(({ kind, x0, y0, x1, y1 }) => [
    kind, clamp(f32(x0 / ratio), 0, width), clamp(f32(y0 / ratio), 0, height), clamp(f32(x1 / ratio), 0, width), clamp(f32(y1 / ratio), 0, height),
  ]);
  const made = { boxes: { shape: [found.length, 5], data: Float32Array.from(boxes) }, scores: { shape: [found.length], data: Float32Array.from(found, (box) => box.score) } };
  for (const about of ["sequence", "frame"]) if (about in raw) made[about] = raw[about];
  return made;
}

// The boxes of the next frame: main.js draws them over that one.
export const forecasts = true;
export const next_raw = (raw) => raw;

export function draw(context, result, scale) {
  const { boxes, scores } = result;
  context.lineWidth = 2 * scale;
  context.font = `${14 * scale}px sans-serif`;
  scores.data.forEach((score, k) => {
    if (score < SHOWN) return;
    const [kind, x0, y0, x1, y1] = boxes.data.slice(5 * k, 5 * k + 5);
    context.strokeStyle = context.fillStyle = `hsl(${(kind * 47 + 160) % 360} 90% 60%)`;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    context.fillText(`${CLASSES[kind]} ${Math.round(100 * score)} %`, x0 + 2, Math.max(14 * scale, y0 - 3 * scale));
  });
}

export const words = ({ scores }) => `${scores.data.filter((score) => score >= SHOWN).length} boxes in the next frame`;
