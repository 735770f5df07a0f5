// What a graph takes and gives, as the bundle's manifest says; config.hpp holds this bundle's.
#pragma once

#include <string>
#include <utility>
#include <vector>

// How a picture becomes a tensor: resize, then (pixel * scale - mean) / std per channel; pixel is 0..255.
struct ImageSpec {
  std::string color, resampler;
  float scale;
  std::vector<float> mean, std;
};

struct TensorSpec {
  std::string name;
  std::vector<long> shape;  // -1: any size
  std::string dtype, layout;
  std::vector<ImageSpec> image;  // one, or none
  std::string normalization;     // of rows of features
  std::vector<std::string> classes;
};

// state: output -> input of the next call. held: input <- GRAPH/OUTPUT.
struct GraphSpec {
  std::string name, file;
  std::vector<TensorSpec> inputs, outputs;
  std::vector<std::pair<std::string, std::string>> state, held;

  const TensorSpec* picture() const {
    for (const TensorSpec& tensor : inputs)
      if (!tensor.image.empty()) return &tensor;
    return nullptr;
  }
  bool filled(const std::string& input) const {
    for (const auto& pair : state)
      if (pair.second == input) return true;
    for (const auto& pair : held)
      if (pair.first == input) return true;
    return false;
  }
  bool kept(const std::string& output) const {
    for (const auto& pair : state)
      if (pair.first == output) return true;
    return false;
  }
};

// Width and height of a picture's tensor.
inline std::pair<int, int> size_of(const TensorSpec& tensor) {
  const bool first = tensor.layout == "NCHW";
  return {static_cast<int>(tensor.shape[first ? 3 : 2]), static_cast<int>(tensor.shape[first ? 2 : 1])};
}
