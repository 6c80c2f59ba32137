;; Exits instead of answering; needs a closed WASI.
(module
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
  (func (export "orghost:plugin/importer@0.1.0#import-org") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $exit (i32.const 1)) unreachable
  ))
