;; Imports an interface that even a closed WASI does not have.
(component
  (import "orghost:plugin/template-files@0.1.0" (instance))
  (import "wasi:http/outgoing-handler@0.2.3" (instance))
  (instance $importer)
  (export "orghost:plugin/importer@0.1.0" (instance $importer)))
