"""What a frame is labelled with: lexicon, HMM states, GMM, priors."""
