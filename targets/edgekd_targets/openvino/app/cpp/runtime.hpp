// OpenVINO, on the CPU: named arrays in, named arrays out.
#pragma once

#include <openvino/openvino.hpp>
#include <string>

#include "array.hpp"
#include "spec.hpp"

class Graph {
 public:
  Graph(const std::string& folder, const GraphSpec& spec, const std::string& precision, int threads) : spec_(spec) {
    // The default on many CPUs is bf16, and f16 slows an int8 graph down: it is never left open.
    const ov::element::Type hint = precision == "bf16" ? ov::element::bf16 : precision == "fp16" ? ov::element::f16 : ov::element::f32;
    ov::CompiledModel compiled = core().compile_model(
        folder + "/" + spec.file, "CPU", ov::hint::inference_precision(hint),
        ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY), ov::inference_num_threads(threads), ov::num_streams(1));
    request_ = compiled.create_infer_request();
  }

  Arrays run(const Arrays& feeds) {
    for (const auto& [name, value] : feeds)
      request_.set_tensor(name, ov::Tensor(type_of(value), ov::Shape(value.shape), const_cast<char*>(value.bytes.data())));
    request_.infer();
    Arrays outputs;
    for (const TensorSpec& output : spec_.outputs) {
      const ov::Tensor tensor = request_.get_tensor(output.name);
      const ov::Shape shape = tensor.get_shape();
      Array& made = outputs[output.name];
      const ov::element::Type type = tensor.get_element_type();
      made = Array{type.is_real() ? 'f' : type.is_signed() ? 'i' : 'u', type.size(), {shape.begin(), shape.end()}, {}};
      const char* data = static_cast<const char*>(tensor.data());
      made.bytes.assign(data, data + tensor.get_byte_size());
    }
    return outputs;
  }

 private:
  static ov::Core& core() {
    static ov::Core one;
    return one;
  }
  static ov::element::Type type_of(const Array& value) {
    if (value.kind == 'f') return value.size == 8 ? ov::element::f64 : ov::element::f32;
    if (value.kind == 'i') return value.size == 8 ? ov::element::i64 : ov::element::i32;
    return ov::element::u8;
  }

  GraphSpec spec_;
  ov::InferRequest request_;
};
