"""Each command's sequence of work: configuration in, result out, without click and without printing."""
