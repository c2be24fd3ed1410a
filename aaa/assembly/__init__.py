"""From a composed config to the objects of a command; everything that these are made of takes plain arguments."""
