// Try-on: from a person and a garment to the person in that garment.

import { cropped, InputError, normalized, picture, pictured, resized, rounded, size_of, to_picture } from "./picture.js";

export const restarts = () => false;

const whole = (x0, y0, x1, y1) => {
  const left = rounded(x0), top = rounded(y0);
  return [left, top, left + Math.max(1, rounded(x1 - x0)), top + Math.max(1, rounded(y1 - y0))];
};

// The part of the photograph that is looked at, of the student's proportions.
function person_box(raw, size) {
  const { width, height } = to_picture(raw.person, "person"), ratio = size[0] / size[1];
  if (raw.box) {
    const [x0, y0, x1, y1] = raw.box, wide = Math.max(x1 - x0, (y1 - y0) * ratio), high = Math.max(y1 - y0, (x1 - x0) / ratio);
    if (!(x1 - x0 >= 1) || !(y1 - y0 >= 1)) throw new InputError("the box is empty");
    const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
    return whole(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2);
  }
  if (width === size[0] && height === size[1]) return [0, 0, width, height];
  const wide = Math.min(width, (height * size[0]) / size[1]), high = (wide * size[1]) / size[0];
  const left = (width - wide) / 2, top = (height - high) / 2;
  return whole(left, top, left + wide, top + high);
}

function fitted(from, box, size, resampler) {
  const same = from.width === size[0] && from.height === size[1] && box.every((value, k) => value === [0, 0, ...size][k]);
  return same ? from : cropped(from, box, size[0], size[1], resampler);
}

// On a canvas of the student's proportions.
function padded(from, size, value) {
  const wide = Math.max(from.width, rounded((from.height * size[0]) / size[1])), high = Math.max(from.height, rounded((from.width * size[1]) / size[0]));
  const made = picture(wide, high, from.channels, value), n = from.channels;
  const left = Math.trunc((wide - from.width) / 2), top = Math.trunc((high - from.height) / 2);
  for (let y = 0; y < from.height; ++y) made.data.set(from.data.subarray(y * from.width * n, (y + 1) * from.width * n), ((y + top) * wide + left) * n);
  return made;
}

export function preprocess(raw, graph) {
  const input = pictured(graph), size = size_of(input), { resampler } = input.image, feeds = {};
  for (const tensor of graph.inputs) {
    if (tensor.name === "person") feeds.person = normalized(fitted(to_picture(raw.person, "person"), person_box(raw, size), size, resampler), tensor);
    if (tensor.name !== "clothes" && tensor.name !== "clothes_edge") continue;
    const paper = padded(to_picture(raw.clothes, "clothes"), size, 255), mask = padded(to_picture(raw.clothes_edge, "the garment's mask"), size, 0);
    if (paper.width !== mask.width || paper.height !== mask.height) throw new InputError("the garment's mask has another size than its picture");
    const edge = fitted(mask, [0, 0, mask.width, mask.height], size, resampler).data;
    if (!edge.some((value) => value > 127)) throw new InputError("the garment vanishes: its mask is empty");
    if (tensor.name === "clothes_edge") {
      feeds.clothes_edge = { shape: tensor.shape, data: Float32Array.from(edge, (value) => (value > 127 ? 1 : 0)) };
    } else {
      feeds.clothes = normalized(fitted(paper, [0, 0, paper.width, paper.height], size, resampler), tensor);
      const { data } = feeds.clothes, planar = tensor.layout === "NCHW"; // masked after normalisation: around the garment is 0
      for (let k = 0; k < data.length; ++k) if (edge[planar ? k % edge.length : Math.trunc(k / 3)] <= 127) data[k] *= 0;
    }
  }
  return feeds;
}

// An output as (H, W, channels), whatever its layout.
function channels_last({ data }, layout, channels) {
  if (layout === "NHWC") return data;
  const pixels = data.length / channels;
  return Float32Array.from(data, (_, k) => data[(k % channels) * pixels + Math.trunc(k / channels)]);
}

function denormalized(values, { image, ...tensor }) {
  const [width, height] = size_of(tensor), made = picture(width, height, 3), { scale, mean, std } = image;
  const f32 = Math.fround;
  values.forEach((value, k) => {
    const pixel = f32(f32(f32((Number.isNaN(value) ? 0 : value) * f32(std[k % 3])) + f32(mean[k % 3])) / f32(scale));
    made.data[k] = Math.min(255, Math.max(0, rounded(pixel)));
  });
  return made;
}

// tryon: the photograph with the person in the garment; warped_cloth and grid: what the student saw on the way.
export function postprocess(outputs, raw, graph) {
  const input = pictured(graph), size = size_of(input), box = person_box(raw, size), { person } = raw;
  const layout = (name) => graph.outputs.find((tensor) => tensor.name === name).layout;
  let result = denormalized(channels_last(outputs.tryon, layout("tryon"), 3), input);
  const [wide, high] = [box[2] - box[0], box[3] - box[1]];
  if (wide !== size[0] || high !== size[1]) result = resized(result, [0, 0, result.width, result.height], wide, high, "bicubic");
  const pasted = { ...person, data: Uint8Array.from(person.data) };
  for (let y = Math.max(0, box[1]); y < Math.min(person.height, box[3]); ++y)
    for (let x = Math.max(0, box[0]); x < Math.min(person.width, box[2]); ++x)
      for (let c = 0; c < 3; ++c) pasted.data[(y * person.width + x) * 3 + c] = result.data[((y - box[1]) * wide + x - box[0]) * 3 + c];
  const warped = denormalized(channels_last(outputs.warped_cloth, layout("warped_cloth"), 3), input);
  return { tryon: pasted, warped_cloth: warped, grid: { shape: [size[1], size[0], 2], data: channels_last(outputs.grid, layout("grid"), 2) } };
}

// A video's next frame is a new picture of the person: nothing is carried over.
export const next_raw = (raw) => raw;
export const picture_of = (result) => result.tryon;
export const words = ({ tryon }) => `${tryon.width} x ${tryon.height} px`;
export const draw = () => {};
