#!/usr/bin/env bash
# Generates src/engine/onnx/proto/onnx_pb.ts from the onnx.proto that lies beside it (the ONNX project's schema, Apache-2.0).
#
#   PYTHON=/path/to/python scripts/generate-onnx-proto.sh            from the stored onnx.proto
#   PYTHON=/path/to/python scripts/generate-onnx-proto.sh --update   first takes onnx.proto from that Python's package `onnx`
#
# Needs `npm ci` (protoc-gen-es) and a Python with grpcio-tools (its bundled protoc), for --update also with onnx.
# erasable_syntax: enums become const objects, because the project compiles with erasableSyntaxOnly.
set -euo pipefail
python="${PYTHON:-python3}"
cd "$(dirname "$0")/.."
out=src/engine/onnx/proto
if [ "${1:-}" = "--update" ]; then
  package="$("$python" -c 'import importlib.util; print(importlib.util.find_spec("onnx").submodule_search_locations[0])')"
  cp "$package/onnx.proto" "$out/onnx.proto"
fi
PATH="$PWD/node_modules/.bin:$PATH" "$python" -m grpc_tools.protoc -I "$out" \
  --es_out="$out" --es_opt=target=ts,import_extension=ts,erasable_syntax=true onnx.proto
