"""Tables as data: schema, rule language, compiler, constraint layer, finisher, generators, reports."""
