;; Opens sockets, for which no grant exists, and traps when it gets one; needs a closed WASI.
(module
  (import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket" (func $udp (param i32 i32)))
  (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $tcp (param i32 i32)))
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
  (func (export "orghost:plugin/importer@0.1.0#import-org") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $udp (i32.const 0) (i32.const 128))
    (call $tcp (i32.const 0) (i32.const 136))
    ;; Both were refused: trap on purpose.
    (if (i32.and (i32.load8_u (i32.const 128)) (i32.load8_u (i32.const 136))) (then (call $exit (i32.const 1))))
    unreachable
  ))
