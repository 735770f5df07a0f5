// What a graph takes and gives, as the bundle's manifest says; Config.swift holds this bundle's.

/// How a picture becomes a tensor: resize, then (pixel * scale - mean) / std per channel; pixel is 0...255.
public struct ImageSpec: Sendable {
    public let color: String, resampler: String
    public let scale: Float
    public let mean: [Float], std: [Float]
}

public struct TensorSpec: Sendable {
    public let name: String
    public let shape: [Int]
    public let layout: String
    public let image: ImageSpec?

    /// Width and height of a picture's tensor.
    public var size: (width: Int, height: Int) { layout == "NCHW" ? (shape[3], shape[2]) : (shape[2], shape[1]) }
}

public struct GraphSpec: Sendable {
    public let file: String
    public let inputs: [TensorSpec], outputs: [TensorSpec]
}
