"""The command line: one verb, one stage, one artefact."""
