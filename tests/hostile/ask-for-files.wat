;; Asks for the same file a million times.
(module
  (import "orghost:plugin/template-files@0.1.0" "read" (func $read (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
  (func (export "orghost:plugin/importer@0.1.0#import-org") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (local $times i32)
    (loop $again
      (call $read (i32.const 0) (i32.const 1) (i32.const 64))
      (local.set $times (i32.add (local.get $times) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $times) (i32.const 1000000))))
    unreachable
  ))
