// ONNX Runtime, on the CPU: named arrays in, named arrays out.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>
#include <vector>

#include "array.hpp"
#include "spec.hpp"

class Graph {
 public:
  Graph(const std::string& folder, const GraphSpec& spec, const std::string&, int threads) : spec_(spec) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    session_ = Ort::Session(environment(), (folder + "/" + spec.file).c_str(), options);
  }

  Arrays run(const Arrays& feeds) {
    const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<const char*> inputs, outputs;
    std::vector<Ort::Value> values;
    for (const auto& [name, value] : feeds) {
      const std::vector<std::int64_t> shape(value.shape.begin(), value.shape.end());
      inputs.push_back(name.c_str());
      values.push_back(Ort::Value::CreateTensor(memory, const_cast<char*>(value.bytes.data()), value.bytes.size(), shape.data(),
                                                shape.size(), type_of(value)));
    }
    for (const TensorSpec& output : spec_.outputs) outputs.push_back(output.name.c_str());
    std::vector<Ort::Value> said = session_.Run(Ort::RunOptions{nullptr}, inputs.data(), values.data(), values.size(), outputs.data(), outputs.size());
    Arrays made;
    for (std::size_t k = 0; k < said.size(); ++k) {
      const auto info = said[k].GetTensorTypeAndShapeInfo();
      Array array = kinds(info.GetElementType());
      for (const std::int64_t axis : info.GetShape()) array.shape.push_back(static_cast<std::size_t>(axis));
      const char* data = static_cast<const char*>(said[k].GetTensorRawData());
      array.bytes.assign(data, data + info.GetElementCount() * array.size);
      made[outputs[k]] = std::move(array);
    }
    return made;
  }

 private:
  static Ort::Env& environment() {
    static Ort::Env one(ORT_LOGGING_LEVEL_ERROR, "app");
    return one;
  }
  static ONNXTensorElementDataType type_of(const Array& value) {
    if (value.kind == 'f') return value.size == 8 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    if (value.kind == 'i') return value.size == 8 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  }
  static Array kinds(ONNXTensorElementDataType type) {
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE) return {'f', 8, {}, {}};
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) return {'i', 8, {}, {}};
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32) return {'i', 4, {}, {}};
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8) return {'u', 1, {}, {}};
    return {'f', 4, {}, {}};
  }

  GraphSpec spec_;
  Ort::Session session_{nullptr};
};
