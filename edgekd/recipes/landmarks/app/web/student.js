// Landmarks: from a picture and a face's box to points in pixels of that picture.

import { CONTOURS } from "./config.js";
import { cropped, normalized, pictured, size_of, to_picture } from "./picture.js";

const box_of = (raw) => raw.box ?? [0, 0, raw.image.width, raw.image.height];

export const restarts = () => false;

export function preprocess(raw, graph) {
  const input = pictured(graph), [width, height] = size_of(input);
  return { [input.name]: normalized(cropped(to_picture(raw.image, "image"), box_of(raw), width, height, input.image.resampler), input) };
}

// landmarks: (N, 2) px. The network's are in crop widths (heights) from the crop's centre.
export function postprocess(outputs, raw, graph) {
  const said = outputs[graph.outputs[0].name].data, [x0, y0, x1, y1] = box_of(raw);
  const data = Float32Array.from(said, (value, k) => (k % 2 === 0 ? (x0 + x1) / 2 + value * (x1 - x0) : (y0 + y1) / 2 + value * (y1 - y0)));
  return { landmarks: { shape: [data.length / 2, 2], data } };
}

// Where to look in a video's next frame: about the points of this one. Without points, the middle of the picture.
export function next_raw(raw, result) {
  const { width, height } = raw.image, points = result?.landmarks.data;
  if (points) {
    const xs = points.filter((_, k) => k % 2 === 0), ys = points.filter((_, k) => k % 2 === 1);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const side = 1.33 * Math.max(right - left, bottom - top), x = (left + right) / 2, y = (top + bottom) / 2;
    if (side > 0.1 * height && side < 1.5 * height && x > 0 && x < width && y > 0 && y < height)
      return { ...raw, box: [x - side / 2, y - side / 2, x + side / 2, y + side / 2] };
  }
  const side = 0.7 * Math.min(width, height);
  return { ...raw, box: [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2] };
}

export function draw(context, result, scale) {
  const { data } = result.landmarks, unit = 1.5 * scale;
  context.strokeStyle = context.fillStyle = "rgb(90, 255, 190)";
  context.lineWidth = unit;
  for (const [numbers, closed] of CONTOURS[data.length / 2] ?? []) {
    context.beginPath();
    for (const k of numbers) context.lineTo(data[2 * k], data[2 * k + 1]);
    if (closed) context.closePath();
    context.stroke();
  }
  for (let k = 0; k < data.length; k += 2) {
    context.beginPath();
    context.arc(data[k], data[k + 1], 1.3 * unit, 0, 7);
    context.fill();
  }
}

export const words = (result) => `${result.landmarks.shape[0]} points`;
