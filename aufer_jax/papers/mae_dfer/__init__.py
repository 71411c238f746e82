"""MAE-DFER's pre-training of the video transformer that AU-DFER takes as a host."""
