# OpenVINO's wheel ships headers and CMake files: cmake -DOpenVINO_DIR=$(python -c "import openvino; print(openvino.__path__[0])")/cmake
find_package(OpenVINO REQUIRED COMPONENTS Runtime)
target_link_libraries(app PRIVATE openvino::runtime)
