// Core ML: named arrays in, named arrays out.
import CoreML
import CoreVideo
import Foundation

public final class Graph {
    private let model: MLModel
    private let spec: GraphSpec

    public init(_ spec: GraphSpec) throws {
        guard let package = Bundle.module.url(forResource: "model", withExtension: nil)?.appendingPathComponent(spec.file) else {
            throw InputError("the package holds no model")
        }
        self.spec = spec
        model = try MLModel(contentsOf: MLModel.compileModel(at: package))
    }

    public func run(_ feeds: [String: Array32]) throws -> [String: Array32] {
        var values: [String: MLFeatureValue] = [:]
        for tensor in spec.inputs {
            guard let feed = feeds[tensor.name] else { throw InputError("there is no \(tensor.name)") }
            let takesPicture = model.modelDescription.inputDescriptionsByName[tensor.name]?.imageConstraint != nil
            values[tensor.name] = takesPicture ? MLFeatureValue(pixelBuffer: try pixelBuffer(feed, tensor)) : MLFeatureValue(multiArray: try multiArray(feed))
        }
        let said = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: values))
        var outputs: [String: Array32] = [:]
        for tensor in spec.outputs {
            guard let array = said.featureValue(for: tensor.name)?.multiArrayValue else { throw InputError("the model gives no \(tensor.name)") }
            outputs[tensor.name] = Array32(shape: array.shape.map(\.intValue), data: (0..<array.count).map { array[$0].floatValue })
        }
        return outputs
    }

    private func multiArray(_ feed: Array32) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: feed.shape.map { NSNumber(value: $0) }, dataType: .float32)
        for (k, number) in feed.data.enumerated() { array[k] = NSNumber(value: number) }
        return array
    }

    /// Where Core ML does the arithmetic itself: the numbers back to the pixels that they were.
    private func pixelBuffer(_ feed: Array32, _ tensor: TensorSpec) throws -> CVPixelBuffer {
        let image = tensor.image!, (width, height) = tensor.size, size = width * height, grey = image.color == "L"
        var made: CVPixelBuffer?
        let format = grey ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
        CVPixelBufferCreate(nil, width, height, format, nil, &made)
        guard let buffer = made else { throw InputError("there is no memory for a picture") }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        let bytes = CVPixelBufferGetBaseAddress(buffer)!.assumingMemoryBound(to: UInt8.self), row = CVPixelBufferGetBytesPerRow(buffer)
        for c in 0..<(grey ? 1 : 3) {
            for k in 0..<size {
                let pixel = ((feed.data[c * size + k] * image.std[c] + image.mean[c]) / image.scale).rounded()
                let place = grey ? 0 : image.color == "BGR" ? c : 2 - c
                bytes[(k / width) * row + (k % width) * (grey ? 1 : 4) + place] = UInt8(min(255, max(0, pixel)))
            }
        }
        return buffer
    }
}
