// Named arrays, and numpy's .npy files.
import Foundation

/// What was given cannot be used: what is wrong, in one line.
public struct InputError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// Numbers in row-major order.
public struct Array32: Sendable {
    public var shape: [Int]
    public var data: [Float]

    public init(shape: [Int], data: [Float]) {
        self.shape = shape
        self.data = data
    }

    /// Element `k` of the first axis.
    public subscript(k: Int) -> Array32 {
        let step = data.count / shape[0]
        return Array32(shape: Swift.Array(shape.dropFirst()), data: Swift.Array(data[(k * step)..<((k + 1) * step)]))
    }
}

/// Reads numbers of any type that the bundle's vectors have; 8-bit ones become 0...255.
public func readNpy(_ url: URL) throws -> Array32 {
    let file = try Data(contentsOf: url)
    guard file.count > 10, file.prefix(6) == Data([0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]) else {
        throw InputError("\(url.lastPathComponent) is no .npy file")
    }
    let length = Int(file[8]) + 256 * Int(file[9])
    let header = String(decoding: file[10..<(10 + length)], as: UTF8.self)
    let body = file.dropFirst(10 + length)
    let type = String(header.components(separatedBy: "'descr': '")[1].prefix(3))
    let inner = header.components(separatedBy: "(")[1].components(separatedBy: ")")[0]
    let shape = inner.split(separator: ",").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
    func numbers<T>(_: T.Type, _ convert: (T) -> Float) -> [Float] {
        let size = MemoryLayout<T>.size
        return body.withUnsafeBytes { bytes in
            (0..<(bytes.count / size)).map { convert(bytes.loadUnaligned(fromByteOffset: $0 * size, as: T.self)) }
        }
    }
    switch type {
    case "<f4": return Array32(shape: shape, data: numbers(Float.self) { $0 })
    case "<f8": return Array32(shape: shape, data: numbers(Double.self) { Float($0) })
    case "<i8": return Array32(shape: shape, data: numbers(Int64.self) { Float($0) })
    case "|u1": return Array32(shape: shape, data: numbers(UInt8.self) { Float($0) })
    default: throw InputError("\(url.lastPathComponent) is an array of \(type)")
    }
}
