;; Recurses without end in its start function.
(module
  (memory (export "memory") 1)
  (func $recurse (param i32) (result i32) (i32.add (i32.const 1) (call $recurse (local.get 0))))
  (func $begin (drop (call $recurse (i32.const 0))))
  (start $begin)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
  (func (export "orghost:plugin/importer@0.1.0#import-org") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    unreachable
  ))
