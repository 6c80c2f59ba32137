;; Imports an interface that its version of the contract does not have.
(component
  (import "orghost:plugin/log@0.1.0" (instance))
  (instance $importer)
  (export "orghost:plugin/importer@0.1.0" (instance $importer)))
