// Pictures, 8 bits a channel, and how they are resized. The arithmetic is Pillow's, to the last bit: the student was
// trained and judged with it.
import Foundation

public struct Picture: Sendable {
    public let width: Int, height: Int, channels: Int
    public var pixels: [UInt8]

    public init(width: Int, height: Int, channels: Int = 3, pixels: [UInt8]) {
        self.width = width
        self.height = height
        self.channels = channels
        self.pixels = pixels
    }

    /// (H, W, 3) of 0...255.
    public init(_ array: Array32) {
        self.init(width: array.shape[1], height: array.shape[0], channels: array.shape.count > 2 ? array.shape[2] : 1, pixels: array.data.map { UInt8($0) })
    }
}

/// x0, y0, x1, y1 in pixels; 0 is the left (top) edge of the first pixel.
public struct Box: Sendable {
    public var x0: Double, y0: Double, x1: Double, y1: Double
    public init(_ x0: Double, _ y0: Double, _ x1: Double, _ y1: Double) {
        (self.x0, self.y0, self.x1, self.y1) = (x0, y0, x1, y1)
    }
}

private func support(_ filter: String) -> Double { filter == "bilinear" ? 1 : filter == "bicubic" ? 2 : 3 }

private func value(_ filter: String, _ distance: Double) -> Double {
    let x = abs(distance)
    if filter == "bilinear" { return x < 1 ? 1 - x : 0 }
    if filter == "bicubic" { return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0 }
    func sinc(_ v: Double) -> Double { v == 0 ? 1 : sin(v * Double.pi) / (v * Double.pi) }
    return x < 3 ? sinc(x) * sinc(x / 3) : 0
}

/// One axis: what each output pixel takes of which input pixels, in 22 bits of fraction. Pillow's box is of floats.
private func taps(_ size: Int, _ from: Float, _ to: Float, _ out: Int, _ filter: String) -> [(low: Int, weights: [Int])] {
    let scale = Double(to - from) / Double(out), wide = max(scale, 1), reach = support(filter) * wide
    return (0..<out).map { k in
        let centre = Double(from) + (Double(k) + 0.5) * scale
        let low = max(0, Int(centre - reach + 0.5)), high = min(size, Int(centre + reach + 0.5))
        let parts = (low..<high).map { value(filter, (Double($0) - centre + 0.5) * (1 / wide)) }
        let sum = parts.reduce(0, +)
        return (low, parts.map { part in
            let share = sum != 0 ? part / sum : part
            return Int((share < 0 ? -0.5 : 0.5) + share * Double(1 << 22))
        })
    }
}

private func clipped(_ sum: Int) -> UInt8 { UInt8(min(255, max(0, sum >> 22))) }

private func across(_ from: Picture, _ box: Box, _ width: Int, _ filter: String) -> Picture {
    let rows = taps(from.width, Float(box.x0), Float(box.x1), width, filter), n = from.channels
    var out = Picture(width: width, height: from.height, channels: n, pixels: [UInt8](repeating: 0, count: width * from.height * n))
    for y in 0..<from.height {
        for x in 0..<width {
            for c in 0..<n {
                var sum = 1 << 21
                for (k, weight) in rows[x].weights.enumerated() { sum += Int(from.pixels[(y * from.width + rows[x].low + k) * n + c]) * weight }
                out.pixels[(y * width + x) * n + c] = clipped(sum)
            }
        }
    }
    return out
}

private func down(_ from: Picture, _ box: Box, _ height: Int, _ filter: String) -> Picture {
    let row = from.width * from.channels
    var out = Picture(width: from.width, height: height, channels: from.channels, pixels: [UInt8](repeating: 0, count: row * height))
    for (y, tap) in taps(from.height, Float(box.y0), Float(box.y1), height, filter).enumerated() {
        for x in 0..<row {
            var sum = 1 << 21
            for (k, weight) in tap.weights.enumerated() { sum += Int(from.pixels[(tap.low + k) * row + x]) * weight }
            out.pixels[y * row + x] = clipped(sum)
        }
    }
    return out
}

public func resized(_ from: Picture, _ box: Box, width: Int, height: Int, filter: String) -> Picture {
    let needsAcross = width != from.width || box.x0 != 0 || box.x1 != Double(width)
    let needsDown = height != from.height || box.y0 != 0 || box.y1 != Double(height)
    if !needsAcross { return needsDown ? down(from, box, height, filter) : from }
    if !needsDown { return across(from, box, width, filter) }
    // Between the two passes values are rounded, so their order shows. Measured of Pillow 13; earlier ones began across.
    let downFirst = from.height > height && 2 * (from.width - width) < from.height - height
    return downFirst ? across(down(from, box, height, filter), box, width, filter) : down(across(from, box, width, filter), box, height, filter)
}

/// The box of a picture; outside of it its edge is repeated. A side that stays inside ends at the picture's edge.
public func cropped(_ from: Picture, _ box: Box, width: Int, height: Int, filter: String) throws -> Picture {
    let (wide, high) = (Double(from.width), Double(from.height))
    guard box.x1 - box.x0 >= 1, box.y1 - box.y0 >= 1 else { throw InputError("the box is empty") }
    guard box.x0 < wide, box.y0 < high, box.x1 > 0, box.y1 > 0 else { throw InputError("the box lies outside of the picture") }
    guard max(box.x1 - box.x0, box.y1 - box.y0) <= 8 * max(wide, high) else { throw InputError("the box is far larger than the picture") }
    let reachX = Int((3 * max(1, (box.x1 - box.x0) / Double(width))).rounded(.up)) + 1
    let reachY = Int((3 * max(1, (box.y1 - box.y0) / Double(height))).rounded(.up)) + 1
    var left = Int(box.x0.rounded(.down)) - reachX, right = Int(box.x1.rounded(.up)) + reachX
    var top = Int(box.y0.rounded(.down)) - reachY, bottom = Int(box.y1.rounded(.up)) + reachY
    if box.x0 >= 0 { left = max(left, 0) }
    if box.x1 <= wide { right = min(right, from.width) }
    if box.y0 >= 0 { top = max(top, 0) }
    if box.y1 <= high { bottom = min(bottom, from.height) }
    var pixels: [UInt8] = []
    for y in top..<bottom {
        for x in left..<right {
            let at = (min(max(y, 0), from.height - 1) * from.width + min(max(x, 0), from.width - 1)) * from.channels
            pixels += from.pixels[at..<(at + from.channels)]
        }
    }
    let part = Picture(width: right - left, height: bottom - top, channels: from.channels, pixels: pixels)
    let inner = Box(box.x0 - Double(left), box.y0 - Double(top), box.x1 - Double(left), box.y1 - Double(top))
    return resized(part, inner, width: width, height: height, filter: filter)
}

/// To the tensor's numbers, laid out as it takes them, with a batch axis of 1.
public func normalized(_ picture: Picture, _ tensor: TensorSpec) -> Array32 {
    let image = tensor.image!, planar = tensor.layout == "NCHW", size = picture.width * picture.height
    let grey = image.color == "L", channels = grey ? 1 : 3
    var data = [Float](repeating: 0, count: channels * size)
    for c in 0..<channels {
        for k in 0..<size {
            let at = k * 3
            let luma = (Int(picture.pixels[at]) * 19595 + Int(picture.pixels[at + 1]) * 38470 + Int(picture.pixels[at + 2]) * 7471 + 0x8000) >> 16
            let number = grey ? luma : Int(picture.pixels[at + (image.color == "BGR" ? 2 - c : c)])
            data[planar ? c * size + k : k * channels + c] = (Float(number) * image.scale - image.mean[c]) / image.std[c]
        }
    }
    return Array32(shape: planar ? [1, channels, picture.height, picture.width] : [1, picture.height, picture.width, channels], data: data)
}
