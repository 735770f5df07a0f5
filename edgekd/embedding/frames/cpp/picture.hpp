// Pictures: 8 bits a channel, and how they are resized. The arithmetic is Pillow's, to the last bit: the student was
// trained and judged with it (ImagingResample and ImagingReduce, fixed point with 22 and 24 bits).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "array.hpp"
#include "spec.hpp"

struct Picture {
  int width = 0, height = 0, channels = 3;
  std::vector<std::uint8_t> pixels;

  Picture() = default;
  Picture(int w, int h, int c, std::uint8_t value = 0)
      : width(w), height(h), channels(c), pixels(static_cast<std::size_t>(w) * static_cast<std::size_t>(h) * static_cast<std::size_t>(c), value) {}

  std::uint8_t* at(int x, int y) { return &pixels[index(x, y)]; }
  const std::uint8_t* at(int x, int y) const { return &pixels[index(x, y)]; }

 private:
  std::size_t index(int x, int y) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) * static_cast<std::size_t>(channels);
  }
};

inline Picture to_picture(const Array& array, const std::string& name) {
  const bool mask = array.shape.size() == 2;
  if (array.kind != 'u' || array.size != 1 || (!mask && (array.shape.size() != 3 || array.shape[2] != 3)) || array.bytes.empty())
    throw InputError(name + " is no picture: it must be 8 bits, RGB or a mask");
  Picture picture(static_cast<int>(array.shape[1]), static_cast<int>(array.shape[0]), mask ? 1 : 3);
  std::memcpy(picture.pixels.data(), array.bytes.data(), array.bytes.size());
  return picture;
}

inline Array to_array(const Picture& picture) {
  std::vector<std::size_t> shape{static_cast<std::size_t>(picture.height), static_cast<std::size_t>(picture.width)};
  if (picture.channels > 1) shape.push_back(static_cast<std::size_t>(picture.channels));
  return make_array(shape, picture.pixels);
}

struct Rectangle {
  double x0, y0, x1, y1;
};

inline double filter_support(const std::string& name) { return name == "bilinear" ? 1 : name == "bicubic" ? 2 : 3; }

inline double filter_value(const std::string& name, double x) {
  x = std::abs(x);
  if (name == "bilinear") return x < 1 ? 1 - x : 0;
  if (name == "bicubic") {
    const double a = -0.5;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  }
  const auto sinc = [](double v) { return v == 0 ? 1.0 : std::sin(v * 3.14159265358979323846) / (v * 3.14159265358979323846); };
  return x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

// One axis: what each output pixel takes of which input pixels, in 22 bits of fraction. Pillow's box is of floats.
struct Taps {
  std::vector<int> first, count, weights;
  int most;
};

inline Taps taps_of(int in, float from, float to, int out, const std::string& filter) {
  const double scale = static_cast<double>(to - from) / out, wide = std::max(scale, 1.0), support = filter_support(filter) * wide;
  Taps taps{{}, {}, {}, static_cast<int>(std::ceil(support)) * 2 + 1};
  taps.weights.resize(static_cast<std::size_t>(out * taps.most));
  std::vector<double> row(static_cast<std::size_t>(taps.most));
  for (int k = 0; k < out; ++k) {
    const double centre = from + (k + 0.5) * scale;
    const int low = std::max(0, static_cast<int>(centre - support + 0.5));
    const int count = std::min(in, static_cast<int>(centre + support + 0.5)) - low;
    double sum = 0;
    for (int x = 0; x < count; ++x) {
      row[static_cast<std::size_t>(x)] = filter_value(filter, (x + low - centre + 0.5) * (1.0 / wide));
      sum += row[static_cast<std::size_t>(x)];
    }
    for (int x = 0; x < count; ++x) {
      const double part = sum != 0 ? row[static_cast<std::size_t>(x)] / sum : row[static_cast<std::size_t>(x)];
      taps.weights[static_cast<std::size_t>(k * taps.most + x)] = static_cast<int>((part < 0 ? -0.5 : 0.5) + part * (1 << 22));
    }
    taps.first.push_back(low);
    taps.count.push_back(count);
  }
  return taps;
}

inline std::uint8_t clipped(int sum) { return static_cast<std::uint8_t>(std::clamp(sum >> 22, 0, 255)); }

inline Picture resized_across(const Picture& from, const Rectangle& box, int width, const std::string& filter) {
  const Taps taps = taps_of(from.width, static_cast<float>(box.x0), static_cast<float>(box.x1), width, filter);
  Picture out(width, from.height, from.channels);
  for (int y = 0; y < from.height; ++y)
    for (int x = 0; x < width; ++x) {
      const int* weights = &taps.weights[static_cast<std::size_t>(x * taps.most)];
      const std::uint8_t* in = from.at(taps.first[static_cast<std::size_t>(x)], y);
      for (int c = 0; c < from.channels; ++c) {
        int sum = 1 << 21;
        for (int k = 0; k < taps.count[static_cast<std::size_t>(x)]; ++k) sum += in[k * from.channels + c] * weights[k];
        out.at(x, y)[c] = clipped(sum);
      }
    }
  return out;
}

inline Picture resized_down(const Picture& from, const Rectangle& box, int height, const std::string& filter) {
  const Taps taps = taps_of(from.height, static_cast<float>(box.y0), static_cast<float>(box.y1), height, filter);
  Picture out(from.width, height, from.channels);
  const int row = from.width * from.channels;
  std::vector<int> sums(static_cast<std::size_t>(row));
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << 21);
    for (int k = 0; k < taps.count[static_cast<std::size_t>(y)]; ++k) {
      const int weight = taps.weights[static_cast<std::size_t>(y * taps.most + k)];
      const std::uint8_t* in = from.at(0, taps.first[static_cast<std::size_t>(y)] + k);
      for (int x = 0; x < row; ++x) sums[static_cast<std::size_t>(x)] += in[x] * weight;
    }
    std::transform(sums.begin(), sums.end(), out.at(0, y), clipped);
  }
  return out;
}

inline Picture resized(const Picture& from, Rectangle box, int width, int height, const std::string& filter) {
  const bool across = width != from.width || box.x0 != 0 || box.x1 != width;
  const bool down = height != from.height || box.y0 != 0 || box.y1 != height;
  if (filter == "nearest") {
    Picture out(width, height, from.channels);
    const double step_x = (box.x1 - box.x0) / width, step_y = (box.y1 - box.y0) / height;
    double y_at = box.y0 + step_y * 0.5;
    for (int y = 0; y < height; ++y, y_at += step_y) {
      double x_at = box.x0 + step_x * 0.5;
      for (int x = 0; x < width; ++x, x_at += step_x)
        std::copy_n(from.at(std::clamp(static_cast<int>(std::floor(x_at)), 0, from.width - 1),
                            std::clamp(static_cast<int>(std::floor(y_at)), 0, from.height - 1)),
                    from.channels, out.at(x, y));
    }
    return out;
  }
  if (!across) return down ? resized_down(from, box, height, filter) : from;
  if (!down) return resized_across(from, box, width, filter);
  // Between the two passes values are rounded, so their order shows. Measured of Pillow 13; earlier ones began across.
  const bool down_first = from.height > height && 2 * (from.width - width) < from.height - height;
  return down_first ? resized_across(resized_down(from, box, height, filter), box, width, filter)
                    : resized_down(resized_across(from, box, width, filter), box, height, filter);
}

// Averages over blocks of pixels; those at the right and bottom edge may be smaller.
inline Picture reduced(const Picture& from, int by_x, int by_y) {
  Picture out((from.width + by_x - 1) / by_x, (from.height + by_y - 1) / by_y, from.channels);
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x) {
      const int wide = std::min(by_x, from.width - x * by_x), high = std::min(by_y, from.height - y * by_y);
      const auto pixels = static_cast<std::uint32_t>(wide * high);
      const auto share = static_cast<std::uint32_t>(4294967296.0f / static_cast<float>(pixels << 8));
      for (int c = 0; c < from.channels; ++c) {
        std::uint32_t sum = pixels / 2;
        for (int j = 0; j < high; ++j)
          for (int i = 0; i < wide; ++i) sum += from.at(x * by_x + i, y * by_y + j)[c];
        out.at(x, y)[c] = static_cast<std::uint8_t>((sum * share) >> 24);
      }
    }
  return out;
}

// The box of a picture; outside of it its edge is repeated. A side that stays inside ends at the picture's edge.
inline Picture cropped(const Picture& from, Rectangle box, int width, int height, const std::string& filter) {
  if (!(box.x1 - box.x0 >= 1) || !(box.y1 - box.y0 >= 1) || !std::isfinite(box.x0 + box.y0 + box.x1 + box.y1))
    throw InputError("the box is empty: x1 must be right of x0, y1 below y0");
  if (box.x0 >= from.width || box.y0 >= from.height || box.x1 <= 0 || box.y1 <= 0)
    throw InputError("the box lies outside of the picture");
  if (std::max(box.x1 - box.x0, box.y1 - box.y0) > 8 * std::max(from.width, from.height))
    throw InputError("the box is far larger than the picture");
  const int reach_x = static_cast<int>(std::ceil(3 * std::max(1.0, (box.x1 - box.x0) / width))) + 1;
  const int reach_y = static_cast<int>(std::ceil(3 * std::max(1.0, (box.y1 - box.y0) / height))) + 1;
  int left = static_cast<int>(std::floor(box.x0)) - reach_x, right = static_cast<int>(std::ceil(box.x1)) + reach_x;
  int top = static_cast<int>(std::floor(box.y0)) - reach_y, bottom = static_cast<int>(std::ceil(box.y1)) + reach_y;
  if (!(box.x0 < 0)) left = std::max(left, 0);
  if (!(box.x1 > from.width)) right = std::min(right, from.width);
  if (!(box.y0 < 0)) top = std::max(top, 0);
  if (!(box.y1 > from.height)) bottom = std::min(bottom, from.height);
  Picture part(right - left, bottom - top, from.channels);
  for (int y = top; y < bottom; ++y)
    for (int x = left; x < right; ++x)
      std::copy_n(from.at(std::clamp(x, 0, from.width - 1), std::clamp(y, 0, from.height - 1)), from.channels, part.at(x - left, y - top));
  return resized(part, {box.x0 - left, box.y0 - top, box.x1 - left, box.y1 - top}, width, height, filter);
}

// (H, W, 3) to the tensor's numbers, laid out as it takes them, with a batch axis of 1.
inline Array normalized(const Picture& picture, const TensorSpec& tensor) {
  const ImageSpec& image = tensor.image.front();
  const bool grey = image.color == "L", planar = tensor.layout == "NCHW";
  const int channels = grey ? 1 : 3;
  const auto w = static_cast<std::size_t>(picture.width), h = static_cast<std::size_t>(picture.height), n = static_cast<std::size_t>(channels);
  Array made = make_array<float>(planar ? std::vector<std::size_t>{1, n, h, w} : std::vector<std::size_t>{1, h, w, n});
  float* out = made.as<float>();
  for (std::size_t c = 0; c < n; ++c)
    for (std::size_t k = 0; k < w * h; ++k) {
      const std::uint8_t* pixel = &picture.pixels[k * 3];
      const int value = grey ? (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16
                             : pixel[image.color == "BGR" ? 2 - c : c];
      const float number = (static_cast<float>(value) * image.scale - image.mean[c]) / image.std[c];
      out[planar ? c * w * h + k : k * n + c] = number;
    }
  return made;
}
