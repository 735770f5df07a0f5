// swift-tools-version:5.9
// A student on Core ML. `swift test` runs the bundle's own vectors on a Mac.
import PackageDescription

let package = Package(
    name: "App",
    platforms: [.macOS(.v14), .iOS(.v17)],
    products: [.library(name: "App", targets: ["App"])],
    targets: [
        .target(name: "App", resources: [.copy("model")]),
        .testTarget(name: "AppTests", dependencies: ["App"], resources: [.copy("vectors")]),
    ]
)
