;; Built for a version of the contract that nobody has published.
(component
  (instance $importer)
  (export "orghost:plugin/importer@0.9.0" (instance $importer)))
