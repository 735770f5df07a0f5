# ONNX Runtime's release archives hold headers and library: cmake -DONNXRUNTIME_INCLUDE=FOLDER -DONNXRUNTIME_LIBRARY=FILE
if(NOT ONNXRUNTIME_INCLUDE OR NOT ONNXRUNTIME_LIBRARY)
  message(FATAL_ERROR "give -DONNXRUNTIME_INCLUDE (the folder of onnxruntime_cxx_api.h) and -DONNXRUNTIME_LIBRARY (libonnxruntime)")
endif()
target_include_directories(app SYSTEM PRIVATE ${ONNXRUNTIME_INCLUDE})
get_filename_component(ONNXRUNTIME_FOLDER ${ONNXRUNTIME_LIBRARY} DIRECTORY)
target_link_libraries(app PRIVATE ${ONNXRUNTIME_LIBRARY})
set_target_properties(app PROPERTIES BUILD_RPATH ${ONNXRUNTIME_FOLDER})
