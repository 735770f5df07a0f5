// Landmarks: from a picture and a face's box to points in pixels of that picture.
import Foundation

public struct Point: Sendable {
    public let x: Float, y: Float
}

/// Loads the bundle once; `predict` is one picture to its points.
public final class Student {
    public let spec = Config.graph
    private let graph: Graph

    public init() throws { graph = try Graph(Config.graph) }

    public func predict(_ picture: Picture, box: Box? = nil) throws -> [Point] {
        postprocess(try graph.run(preprocess(picture, box: box)), picture, box: box)
    }

    public func run(_ feeds: [String: Array32]) throws -> [String: Array32] { try graph.run(feeds) }

    public func preprocess(_ picture: Picture, box: Box?) throws -> [String: Array32] {
        let input = spec.inputs[0], (width, height) = input.size
        let crop = try cropped(picture, box ?? whole(picture), width: width, height: height, filter: input.image!.resampler)
        return [input.name: normalized(crop, input)]
    }

    /// The network's points are in crop widths (heights) from the crop's centre.
    public func postprocess(_ outputs: [String: Array32], _ picture: Picture, box: Box?) -> [Point] {
        let said = outputs[spec.outputs[0].name]!.data, box = box ?? whole(picture)
        return stride(from: 0, to: said.count, by: 2).map { k in
            Point(
                x: Float((box.x0 + box.x1) / 2 + Double(said[k]) * (box.x1 - box.x0)),
                y: Float((box.y0 + box.y1) / 2 + Double(said[k + 1]) * (box.y1 - box.y0)))
        }
    }

    private func whole(_ picture: Picture) -> Box { Box(0, 0, Double(picture.width), Double(picture.height)) }
}
