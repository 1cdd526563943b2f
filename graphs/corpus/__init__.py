"""The bundled corpus: subgraphs of real networks and procedural families as graph records."""
