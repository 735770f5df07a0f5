// Try-on: from a person and a garment to the person in that garment. The Python app also takes the person's mask.
#pragma once

#include <algorithm>
#include <cmath>

#include "config.hpp"
#include "picture.hpp"

struct Whole {
  int x0, y0, x1, y1;
};

inline int rounded(double value) { return static_cast<int>(std::nearbyint(value)); }  // halves to even, as Python does

inline Whole whole(double x0, double y0, double x1, double y1) {
  const int left = rounded(x0), top = rounded(y0);
  return {left, top, left + std::max(1, rounded(x1 - x0)), top + std::max(1, rounded(y1 - y0))};
}

inline bool restarts(const Arrays&, const Arrays*) { return false; }

// The part of the photograph that is looked at, of the student's proportions.
inline Whole person_box(const Arrays& raw, const Picture& person, std::pair<int, int> size) {
  const double ratio = static_cast<double>(size.first) / size.second;
  if (raw.count("mask") != 0) throw InputError("this app takes no mask of the person: give box=x0,y0,x1,y1");
  if (raw.count("box") != 0) {
    const Array& box = raw.at("box");
    if (box.count() != 4) throw InputError("box is not four numbers: x0, y0, x1, y1");
    const double x0 = box.at(0), y0 = box.at(1), x1 = box.at(2), y1 = box.at(3);
    if (!(x1 - x0 >= 1) || !(y1 - y0 >= 1) || x0 >= person.width || y0 >= person.height || x1 <= 0 || y1 <= 0)
      throw InputError("the box is empty or lies outside of the picture");
    const double wide = std::max(x1 - x0, (y1 - y0) * ratio), high = std::max(y1 - y0, (x1 - x0) / ratio);
    const double cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
    return whole(cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2);
  }
  if (person.width == size.first && person.height == size.second) return {0, 0, person.width, person.height};
  const double wide = std::min(static_cast<double>(person.width), static_cast<double>(person.height) * size.first / size.second);
  const double high = wide * size.second / size.first, left = (person.width - wide) / 2, top = (person.height - high) / 2;
  return whole(left, top, left + wide, top + high);
}

inline Picture fitted(const Picture& picture, Whole box, std::pair<int, int> size, const std::string& resampler) {
  if (picture.width == size.first && picture.height == size.second && box.x0 == 0 && box.y0 == 0 && box.x1 == size.first && box.y1 == size.second)
    return picture;
  const Rectangle rectangle{static_cast<double>(box.x0), static_cast<double>(box.y0), static_cast<double>(box.x1), static_cast<double>(box.y1)};
  return cropped(picture, rectangle, size.first, size.second, resampler);
}

// On a canvas of the student's proportions.
inline Picture padded(const Picture& picture, std::pair<int, int> size, std::uint8_t value) {
  const int wide = std::max(picture.width, rounded(static_cast<double>(picture.height) * size.first / size.second));
  const int high = std::max(picture.height, rounded(static_cast<double>(picture.width) * size.second / size.first));
  Picture made(wide, high, picture.channels, value);
  for (int y = 0; y < picture.height; ++y)
    std::copy_n(picture.at(0, y), picture.width * picture.channels, made.at((wide - picture.width) / 2, y + (high - picture.height) / 2));
  return made;
}

inline Arrays preprocess(const Arrays& raw, const GraphSpec& graph) {
  const TensorSpec& input = *graph.picture();
  const auto size = size_of(input);
  const std::string& resampler = input.image.front().resampler;
  Arrays feeds;
  for (const TensorSpec& tensor : graph.inputs) {
    if (tensor.name == "person") {
      const Picture person = to_picture(need(raw, "person"), "person");
      feeds["person"] = normalized(fitted(person, person_box(raw, person, size), size, resampler), tensor);
    } else if (tensor.name == "clothes" || tensor.name == "clothes_edge") {
      const Picture clothes = to_picture(need(raw, "clothes"), "clothes"), mask = to_picture(need(raw, "clothes_edge"), "clothes_edge");
      if (mask.width != clothes.width || mask.height != clothes.height) throw InputError("clothes_edge has another size than clothes");
      const Picture wide = padded(mask, size, 0), edge = fitted(wide, {0, 0, wide.width, wide.height}, size, resampler);
      const auto pixels = edge.pixels.size();
      if (std::none_of(edge.pixels.begin(), edge.pixels.end(), [](std::uint8_t v) { return v > 127; }))
        throw InputError("the garment vanishes: its mask is empty");
      if (tensor.name == "clothes_edge") {
        std::vector<std::size_t> shape{1, 1, static_cast<std::size_t>(size.second), static_cast<std::size_t>(size.first)};
        if (tensor.layout == "NHWC") shape = {1, shape[2], shape[3], 1};
        Array made = make_array<float>(shape);
        for (std::size_t k = 0; k < pixels; ++k) made.as<float>()[k] = edge.pixels[k] > 127 ? 1.0f : 0.0f;
        feeds["clothes_edge"] = made;
      } else {
        const Picture paper = padded(clothes, size, 255);
        Array made = normalized(fitted(paper, {0, 0, paper.width, paper.height}, size, resampler), tensor);
        const bool planar = tensor.layout == "NCHW";  // masked after normalisation: around the garment is 0, mid-grey
        for (std::size_t k = 0; k < 3 * pixels; ++k)
          if (edge.pixels[planar ? k % pixels : k / 3] <= 127) made.as<float>()[k] *= 0.0f;
        feeds["clothes"] = made;
      }
    }
  }
  return feeds;
}

// An output as (H, W, channels), whatever its layout.
inline std::vector<float> channels_last(const Arrays& outputs, const GraphSpec& graph, const std::string& name, std::size_t channels) {
  const Array& said = need(outputs, name);
  const float* in = said.as<float>();
  const std::size_t pixels = said.count() / channels;
  std::vector<float> made(in, in + said.count());
  for (const TensorSpec& tensor : graph.outputs)
    if (tensor.name == name && tensor.layout != "NHWC")
      for (std::size_t k = 0; k < pixels; ++k)
        for (std::size_t c = 0; c < channels; ++c) made[k * channels + c] = in[c * pixels + k];
  return made;
}

inline Picture denormalized(const std::vector<float>& values, const TensorSpec& input) {
  const auto [width, height] = size_of(input);
  const ImageSpec& image = input.image.front();
  Picture made(width, height, 3);
  for (std::size_t k = 0; k < values.size(); ++k) {
    const float value = std::isnan(values[k]) ? 0.0f : values[k];
    made.pixels[k] = static_cast<std::uint8_t>(std::clamp(std::nearbyint((value * image.std[k % 3] + image.mean[k % 3]) / image.scale), 0.0f, 255.0f));
  }
  return made;
}

// tryon: the photograph with the person in the garment; warped_cloth and grid: what the student saw on the way.
inline Arrays postprocess(const Arrays& outputs, const Arrays& raw, const GraphSpec& graph) {
  const TensorSpec& input = *graph.picture();
  const auto size = size_of(input);
  Picture person = to_picture(need(raw, "person"), "person");
  const Whole box = person_box(raw, person, size);
  Picture result = denormalized(channels_last(outputs, graph, "tryon", 3), input);
  if (box.x1 - box.x0 != size.first || box.y1 - box.y0 != size.second)
    result = resized(result, {0, 0, static_cast<double>(result.width), static_cast<double>(result.height)}, box.x1 - box.x0, box.y1 - box.y0, "bicubic");
  for (int y = std::max(0, box.y0); y < std::min(person.height, box.y1); ++y)
    for (int x = std::max(0, box.x0); x < std::min(person.width, box.x1); ++x) std::copy_n(result.at(x - box.x0, y - box.y0), 3, person.at(x, y));
  const auto w = static_cast<std::size_t>(size.first), h = static_cast<std::size_t>(size.second);
  return {{"grid", make_array(std::vector<std::size_t>{h, w, 2}, channels_last(outputs, graph, "grid", 2))},
          {"tryon", to_array(person)},
          {"warped_cloth", to_array(denormalized(channels_last(outputs, graph, "warped_cloth", 3), input))}};
}
