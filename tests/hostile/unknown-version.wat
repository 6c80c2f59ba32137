;; Built for a version of the contract that was never published.
(component
  (instance $importer)
  (export "orghost:plugin/importer@0.9.0" (instance $importer)))
