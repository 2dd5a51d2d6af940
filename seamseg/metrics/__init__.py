"""From predictions and ground truth to numbers; what is counted can be added up over ranks."""
