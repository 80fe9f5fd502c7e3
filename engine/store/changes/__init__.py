"""What changes the store, by what is changed: each change is one transaction of the writer's, or one for each part."""
