"""Where facts come from: sources stored once, searched by passage, quoted and checked."""
