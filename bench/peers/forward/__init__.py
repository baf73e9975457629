"""A forward pass of a decoder of random weights, at many sizes."""
