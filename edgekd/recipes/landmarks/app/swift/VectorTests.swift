// Everything that this package computes, against what the bundle recorded at export.
import XCTest

@testable import App

final class VectorTests: XCTestCase {
    private func folder(_ path: String) -> URL { Bundle.module.url(forResource: "vectors", withExtension: nil)!.appendingPathComponent(path) }
    private func array(_ path: String) throws -> Array32 { try readNpy(folder(path + ".npy")) }
    private func samples() throws -> [(picture: Picture, box: Box)] {
        let images = try array("raw/image"), boxes = try array("raw/box")
        return (0..<Config.samples).map { (Picture(images[$0]), box(boxes[$0])) }
    }
    private func box(_ numbers: Array32) -> Box {
        Box(Double(numbers.data[0]), Double(numbers.data[1]), Double(numbers.data[2]), Double(numbers.data[3]))
    }
    /// max|a-b| / max(1, max|b|)
    private func distance(_ found: [Float], _ recorded: [Float]) -> Double {
        guard found.count == recorded.count else { return .infinity }
        let gap = zip(found, recorded).map { abs(Double($0) - Double($1)) }.max() ?? 0
        return gap / max(1, recorded.map { abs(Double($0)) }.max() ?? 0)
    }
    private func flat(_ points: [Point]) -> [Float] { points.flatMap { [$0.x, $0.y] } }

    func testPreprocessing() throws {
        let student = try Student(), input = student.spec.inputs[0], feeds = try array("feeds/\(input.name)")
        var pairs = try samples().enumerated().map { ($1.picture, $1.box, feeds[$0]) }
        for k in 0..<Config.varied {
            let at = String(format: "varied/%03d", k)
            pairs.append((Picture(try array(at + "/raw/image")), box(try array(at + "/raw/box")), try array(at + "/feeds/\(input.name)")))
        }
        for (picture, box, feed) in pairs {
            let made = try student.preprocess(picture, box: box)[input.name]!.data
            let gaps = zip(made, feed.data).map { Double($0) - Double($1) }
            XCTAssertLessThanOrEqual(gaps.map(abs).max()!, Config.feedsTolerance)
            let level = Double(input.image!.scale / input.image!.std[0])
            XCTAssertLessThanOrEqual(abs(gaps.reduce(0, +) / Double(gaps.count) / level), Config.feedsShift)
        }
    }

    func testOutputsAndPostprocessingAndResult() throws {
        let student = try Student(), input = student.spec.inputs[0], output = student.spec.outputs[0]
        let feeds = try array("feeds/\(input.name)"), outputs = try array("outputs/\(output.name)")
        for (k, sample) in try samples().enumerated() {
            let said = try student.run([input.name: feeds[k]])[output.name]!.data
            XCTAssertLessThanOrEqual(distance(said, outputs[k].data), Config.outputsTolerance)
            let recorded = try array(String(format: "results/%03d/landmarks", k)).data
            let decoded = student.postprocess([output.name: outputs[k]], sample.picture, box: sample.box)
            XCTAssertLessThanOrEqual(distance(flat(decoded), recorded), Config.decodedTolerance)
            let whole = try student.predict(sample.picture, box: sample.box)
            XCTAssertLessThanOrEqual(distance(flat(whole), recorded), max(Config.outputsTolerance, Config.decodedTolerance))
        }
    }
}
