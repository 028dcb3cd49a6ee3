"""The network: a ResNet encoder, a transposed-convolution decoder, and the two joined."""
