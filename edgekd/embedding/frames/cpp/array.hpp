// Named arrays, and numpy's .npy files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

// What was given cannot be used: what is wrong and why, in one line.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Numbers in row-major order. kind is numpy's: 'f' floats, 'i' and 'u' integers, 'b' truth, 'U' text; size in bytes.
struct Array {
  char kind = 'f';
  std::size_t size = 4;
  std::vector<std::size_t> shape;
  std::vector<char> bytes;

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(bytes.data());
  }
  std::size_t count() const { return size == 0 ? 0 : bytes.size() / size; }

  // Element k as a double, whatever the type.
  double at(std::size_t k) const {
    if (kind == 'f') return size == 8 ? as<double>()[k] : static_cast<double>(as<float>()[k]);
    if (kind == 'u' || kind == 'b') return size == 1 ? as<std::uint8_t>()[k] : as<std::uint32_t>()[k];
    return size == 8 ? static_cast<double>(as<std::int64_t>()[k]) : static_cast<double>(as<std::int32_t>()[k]);
  }

  // Element k of the first axis.
  Array operator[](std::size_t k) const {
    Array part{kind, size, {shape.begin() + 1, shape.end()}, {}};
    const std::size_t step = bytes.size() / shape.front();
    part.bytes.assign(bytes.begin() + static_cast<std::ptrdiff_t>(k * step),
                      bytes.begin() + static_cast<std::ptrdiff_t>((k + 1) * step));
    return part;
  }
};

using Arrays = std::map<std::string, Array>;

template <typename T>
constexpr char kind_of() {
  return std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
}

template <typename T>
Array make_array(std::vector<std::size_t> shape, const std::vector<T>& values) {
  Array made{kind_of<T>(), sizeof(T), std::move(shape), std::vector<char>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(made.bytes.data(), values.data(), made.bytes.size());
  return made;
}

template <typename T>
Array make_array(std::vector<std::size_t> shape) {
  std::size_t count = 1;
  for (const std::size_t axis : shape) count *= axis;
  return Array{kind_of<T>(), sizeof(T), std::move(shape), std::vector<char>(count * sizeof(T))};
}

inline Array make_text(const std::string& text) {
  return Array{'U', 4 * text.size(), {}, {text.begin(), text.end()}};
}

inline const Array& need(const Arrays& arrays, const std::string& name) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) throw InputError("there is no " + name);
  return found->second;
}

inline Array read_npy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[8];
  unsigned char length[2];
  if (!file.read(magic, 8) || std::memcmp(magic, "\x93NUMPY\x01", 7) != 0 ||
      !file.read(reinterpret_cast<char*>(length), 2))
    throw InputError(path + " is no .npy file");
  std::string header(static_cast<std::size_t>(length[0] + 256 * length[1]), ' ');
  file.read(header.data(), static_cast<std::streamsize>(header.size()));
  const std::size_t type = header.find("'descr': '") + 10;
  Array array{header[type + 1], std::stoul(header.substr(type + 2)), {}, {}};
  if (array.kind == 'U') array.size *= 4;
  std::size_t at = header.find('(') + 1, count = 1;
  while (header[at] != ')') {
    std::size_t used = 0;
    array.shape.push_back(std::stoul(header.substr(at), &used));
    count *= array.shape.back();
    at += used;
    while (header[at] == ',' || header[at] == ' ') ++at;
  }
  array.bytes.resize(count * array.size);
  file.read(array.bytes.data(), static_cast<std::streamsize>(array.bytes.size()));
  if (!file) throw InputError(path + " is shorter than it says");
  if (array.kind == 'U') {  // UTF-32 to what make_text makes; class names are ASCII mostly, and compared as such
    std::string text;
    for (std::size_t k = 0; k < array.size; k += 4)
      if (array.bytes[k] != 0) text += array.bytes[k];
    return make_text(text);
  }
  return array;
}
