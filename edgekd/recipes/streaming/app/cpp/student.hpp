// Streaming detection: from a frame to the boxes of the next one.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

#include "config.hpp"
#include "picture.hpp"

// Another sequence, or frames that are missing.
inline bool restarts(const Arrays& raw, const Arrays* before) {
  if (before == nullptr || raw.count("sequence") == 0 || before->count("sequence") == 0) return true;
  return raw.at("sequence").at(0) != before->at("sequence").at(0) || raw.at("frame").at(0) != before->at("frame").at(0) + 1;
}

// Scale at which a picture fits into the input.
inline double ratio_of(const Picture& picture, std::pair<int, int> into) {
  return std::min(static_cast<double>(into.first) / picture.width, static_cast<double>(into.second) / picture.height);
}

// The picture in the upper left, resized with its proportions, the rest grey. What is twice as large or more is first
// averaged over whole squares of pixels.
inline Picture letterbox(const Picture& picture, std::pair<int, int> into, const std::string& resampler) {
  if (picture.width == into.first && picture.height == into.second) return picture;
  const double ratio = ratio_of(picture, into);
  const int width = std::max(1, static_cast<int>(picture.width * ratio)), height = std::max(1, static_cast<int>(picture.height * ratio));
  const int by_x = std::max(1, picture.width / width), by_y = std::max(1, picture.height / height);
  const bool reduces = resampler != "nearest" && (by_x > 1 || by_y > 1);
  const Picture smaller = reduces ? reduced(picture, by_x, by_y) : picture;
  const Rectangle box = reduces ? Rectangle{0, 0, static_cast<double>(picture.width) / by_x, static_cast<double>(picture.height) / by_y}
                                : Rectangle{0, 0, static_cast<double>(picture.width), static_cast<double>(picture.height)};
  const Picture fitted = resized(smaller, box, width, height, resampler);
  Picture canvas(into.first, into.second, 3, static_cast<std::uint8_t>(config::GREY));
  for (int y = 0; y < height; ++y) std::copy_n(fitted.at(0, y), width * 3, canvas.at(0, y));
  return canvas;
}

inline Arrays preprocess(const Arrays& raw, const GraphSpec& graph) {
  const TensorSpec& input = *graph.picture();
  return {{input.name, normalized(letterbox(to_picture(need(raw, "image"), "image"), size_of(input), input.image.front().resampler), input)}};
}

struct Box {
  float x0, y0, x1, y1, score;
  std::size_t kind;
};

// Whether the later box goes: same class, and intersection over union above the threshold.
inline bool clashes(const Box& a, const Box& b) {
  if (a.kind != b.kind) return false;
  const float across = std::min(a.x1, b.x1) - std::max(a.x0, b.x0), down = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  const float inter = std::max(across, 0.0f) * std::max(down, 0.0f);
  const float both = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - inter;
  return inter > static_cast<float>(config::OVERLAP) * both;
}

// Rows of the network (centre x, y, width, height, whether there is anything, classes) to boxes, best first.
inline std::vector<Box> detections(const Array& rows) {
  const std::size_t count = rows.shape[rows.shape.size() - 2], width = rows.shape.back();
  const auto least = static_cast<float>(config::CONFIDENCE);
  std::vector<Box> found;
  for (std::size_t k = 0; k < count; ++k) {
    const float* row = rows.as<float>() + k * width;
    if (!(row[4] >= least)) continue;
    const std::size_t kind = static_cast<std::size_t>(std::max_element(row + 5, row + width) - (row + 5));
    const float score = row[4] * row[5 + kind], half_x = row[2] / 2, half_y = row[3] / 2;
    if (score >= least) found.push_back({row[0] - half_x, row[1] - half_y, row[0] + half_x, row[1] + half_y, score, kind});
  }
  std::stable_sort(found.begin(), found.end(), [](const Box& a, const Box& b) { return a.score > b.score; });
  if (found.size() > config::CANDIDATES) found.resize(config::CANDIDATES);
  std::vector<Box> stay;
  for (const Box& box : found) {
    if (stay.size() == config::MOST) break;
    if (!std::isfinite(box.x0) || !std::isfinite(box.y0) || !std::isfinite(box.x1) || !std::isfinite(box.y1)) continue;
    if (std::none_of(stay.begin(), stay.end(), [&](const Box& better) { return clashes(better, box); })) stay.push_back(box);
  }
  return stay;
}

// boxes: (n, 5) class, x0, y0, x1, y1 in px of the raw picture; scores (n,).
inline Arrays postprocess(const Arrays& outputs, const Arrays& raw, const GraphSpec& graph) {
  const Picture picture = to_picture(need(raw, "image"), "image");
  const auto ratio = static_cast<float>(ratio_of(picture, size_of(*graph.picture())));
  std::string name;
  for (const TensorSpec& output : graph.outputs)
    if (!graph.kept(output.name)) name = output.name;
  const std::vector<Box> found = detections(need(outputs, name));
  Array boxes = make_array<float>({found.size(), 5}), scores = make_array<float>({found.size()});
  const auto wide = static_cast<float>(picture.width), high = static_cast<float>(picture.height);
  for (std::size_t k = 0; k < found.size(); ++k) {
    float* box = boxes.as<float>() + 5 * k;
    box[0] = static_cast<float>(found[k].kind);
    box[1] = std::clamp(found[k].x0 / ratio, 0.0f, wide);
    box[2] = std::clamp(found[k].y0 / ratio, 0.0f, high);
    box[3] = std::clamp(found[k].x1 / ratio, 0.0f, wide);
    box[4] = std::clamp(found[k].y1 / ratio, 0.0f, high);
    scores.as<float>()[k] = found[k].score;
  }
  Arrays made{{"boxes", boxes}, {"scores", scores}};
  for (const char* about : {"sequence", "frame"})
    if (raw.count(about) != 0) made[about] = raw.at(about);
  return made;
}
