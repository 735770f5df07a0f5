// Landmarks: from a picture and a face's box to points in pixels of that picture.
#pragma once

#include "config.hpp"
#include "picture.hpp"

inline Rectangle box_of(const Arrays& raw, const Picture& picture) {
  if (raw.count("box") == 0) return {0, 0, static_cast<double>(picture.width), static_cast<double>(picture.height)};
  const Array& box = raw.at("box");
  if (box.count() != 4) throw InputError("box is not four numbers: x0, y0, x1, y1");
  return {box.at(0), box.at(1), box.at(2), box.at(3)};
}

inline bool restarts(const Arrays&, const Arrays*) { return false; }

inline Arrays preprocess(const Arrays& raw, const GraphSpec& graph) {
  const TensorSpec& input = *graph.picture();
  const Picture picture = to_picture(need(raw, "image"), "image");
  const auto [width, height] = size_of(input);
  return {{input.name, normalized(cropped(picture, box_of(raw, picture), width, height, input.image.front().resampler), input)}};
}

// landmarks: (N, 2) px. The network's are in crop widths (heights) from the crop's centre.
inline Arrays postprocess(const Arrays& outputs, const Arrays& raw, const GraphSpec& graph) {
  const Array& said = need(outputs, graph.outputs.front().name);
  const Rectangle box = box_of(raw, to_picture(need(raw, "image"), "image"));
  const std::size_t points = said.count() / 2;
  Array made = make_array<float>({points, 2});
  for (std::size_t k = 0; k < points; ++k) {
    made.as<float>()[2 * k] = static_cast<float>((box.x0 + box.x1) / 2 + said.at(2 * k) * (box.x1 - box.x0));
    made.as<float>()[2 * k + 1] = static_cast<float>((box.y0 + box.y1) / 2 + said.at(2 * k + 1) * (box.y1 - box.y0));
  }
  return {{"landmarks", made}};
}
