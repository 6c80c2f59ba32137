;; Returns a plan whose name has 1 GiB and lies outside of its memory.
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
  (func (export "orghost:plugin/importer@0.1.0#import-org") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 20) (i32.const 8))
    (i32.store (i32.const 24) (i32.const 1073741824))
    i32.const 16
  ))
