;; Asks for timers and never drops one; needs a closed WASI.
(module
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
  (func (export "orghost:plugin/importer@0.1.0#import-org") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (loop $again (drop (call $timer (i64.const 1))) br $again) unreachable
  ))
