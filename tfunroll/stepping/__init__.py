"""Steps with a network, and how they are unrolled: the public core, read in one sitting."""
