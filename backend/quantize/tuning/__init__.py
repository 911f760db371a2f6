"""What is left to gain once the codes are chosen: the continuous numbers of a build, and (PV) a few codes at a time."""
