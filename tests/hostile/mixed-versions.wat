;; Imports one version of the contract and exports another.
(component
  (import "orghost:plugin/log@0.2.0-dev" (instance))
  (instance $importer)
  (export "orghost:plugin/importer@0.1.0" (instance $importer)))
