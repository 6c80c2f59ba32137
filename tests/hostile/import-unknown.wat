;; Imports an interface that does not exist.
(component
  (import "orghost:plugin/template-files@0.1.0" (instance))
  (import "acme:tools/everything" (instance))
  (instance $importer)
  (export "orghost:plugin/importer@0.1.0" (instance $importer)))
