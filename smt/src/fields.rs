//! Changing some fields of a map or struct, on any level, and copying the others.

use std::sync::Arc;

use klamm_connect_api::{ConfigError, ConfigErrors, DataError, Map, Schema, SchemaRef, SchemaType, Struct, Value};

use crate::field_path::{FieldPath, no_container};
use crate::part::{Nulls, copied};

/// The fields that a transform changes, each with what is to be done to it.
#[derive(Debug, Clone)]
pub(crate) struct FieldTree<T> {
    nodes: Vec<(Value, Arc<str>, Node<T>)>,
}

#[derive(Debug, Clone)]
enum Node<T> {
    Leaf(T),
    Below(FieldTree<T>),
}

/// What becomes of fields that schemaless data does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They are null for the change, and added: as Connect's transforms do it.
    Added,
    /// They stay missing.
    Left,
}

impl<T> Default for FieldTree<T> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<T> FieldTree<T> {
    /// Adds a field, in place of an earlier one of the same path.
    ///
    /// # Errors
    /// A field that lies inside of another one of the tree; `key` is the setting that says so.
    pub(crate) fn add(&mut self, key: &str, path: &FieldPath, leaf: T) -> Result<(), ConfigErrors> {
        self.add_steps(path.steps(), leaf).map_err(|name| {
            let message = format!("`{name}` is named itself and fields inside of it are as well: keep one of them");
            ConfigError::new(key, message).into()
        })
    }

    fn add_steps(&mut self, steps: &[Arc<str>], leaf: T) -> Result<(), Arc<str>> {
        let Some((name, below)) = steps.split_first() else {
            return Ok(());
        };
        let place = self.nodes.iter_mut().find(|(_, known, _)| known == name);
        match (place, below) {
            (None, []) => {
                let node = (Value::from(name), Arc::clone(name), Node::Leaf(leaf));
                self.nodes.push(node);
                Ok(())
            }
            (None, below) => {
                let mut tree = Self::default();
                tree.add_steps(below, leaf)?;
                let node = (Value::from(name), Arc::clone(name), Node::Below(tree));
                self.nodes.push(node);
                Ok(())
            }
            (Some((_, _, Node::Leaf(known))), []) => {
                *known = leaf;
                Ok(())
            }
            (Some((_, _, Node::Below(tree))), [_, ..]) => tree.add_steps(below, leaf),
            (Some(_), _) => Err(Arc::clone(name)),
        }
    }

    /// Changes the fields of schemaless data; what is missing or null on the way to one stays so.
    ///
    /// # Errors
    /// What `change` reports, with the field; something on the way that is no map.
    pub(crate) fn change_map(
        &self,
        map: &mut Map,
        missing: Missing,
        change: &impl Fn(&T, &Value) -> Result<Value, DataError>,
    ) -> Result<(), DataError> {
        for (key, name, node) in &self.nodes {
            match (node, map.get_mut(key)) {
                (Node::Leaf(leaf), Some(value)) => {
                    *value = change(leaf, value).map_err(|error| at(name, error))?;
                }
                (Node::Leaf(_), None) if missing == Missing::Left => {}
                (Node::Leaf(leaf), None) => {
                    let value = change(leaf, &Value::Null).map_err(|error| at(name, error))?;
                    map.insert(key.clone(), value);
                }
                (Node::Below(_), None | Some(Value::Null)) => {}
                (Node::Below(tree), Some(Value::Map(inner))) => {
                    tree.change_map(inner, missing, change)
                        .map_err(|error| at(name, error))?;
                }
                (Node::Below(_), Some(other)) => return Err(no_container(name, "a map", other)),
            }
        }
        Ok(())
    }

    /// Removes the fields from schemaless data.
    pub(crate) fn remove_from_map(&self, map: &mut Map) {
        for (key, name, node) in &self.nodes {
            match (node, map.get_mut(key)) {
                (Node::Leaf(_), Some(_)) => {
                    map.remove(name);
                }
                (Node::Below(tree), Some(Value::Map(inner))) => tree.remove_from_map(inner),
                (Node::Leaf(_), None) | (Node::Below(_), _) => {}
            }
        }
    }

    fn node(&self, name: &str) -> Option<&Node<T>> {
        let found = self.nodes.iter().find(|(_, known, _)| **known == *name);
        found.map(|(_, _, node)| node)
    }
}

fn at(name: &str, error: DataError) -> DataError {
    error.at(&format!("field `{name}`"))
}

/// Which attributes of the top-level schema the changed one has besides name, version, doc and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// No others.
    Basics,
    /// Optional, and the default, changed as values are.
    All,
}

/// How the structs of one schema are changed.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    pub(crate) schema: SchemaRef,
    slots: Vec<Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    /// Index of the field in the source.
    source: usize,
    action: Action<T>,
}

#[derive(Debug)]
enum Action<T> {
    Copy,
    Change(T),
    Inside(Plan<T>),
}

/// The new schema of a field; none to leave it out.
pub(crate) type ChangeSchema<'a, T> = &'a dyn Fn(&T, &SchemaRef) -> Result<Option<SchemaRef>, DataError>;

/// What a field's value becomes; it comes with the field's schema.
pub(crate) type ChangeValue<'a, T> = &'a dyn Fn(&T, &SchemaRef, Value) -> Result<Value, DataError>;

impl<T: Clone> Plan<T> {
    /// The plan for structs of `schema`. `leaf` gives the new schema of a field, or none to leave it out. Fields of the
    /// tree that the schema does not have are ignored, as in Connect.
    ///
    /// # Errors
    /// What `leaf` and `change`, which is asked for defaults, report, with the field; something on the way to a field
    /// that is no struct.
    pub(crate) fn build(
        schema: &SchemaRef,
        tree: &FieldTree<T>,
        keep: Keep,
        leaf: ChangeSchema<'_, T>,
        change: ChangeValue<'_, T>,
    ) -> Result<Self, DataError> {
        if schema.schema_type() != SchemaType::Struct {
            return Err(DataError::data(format!(
                "only a struct has fields, and this is a {}",
                schema.schema_type()
            )));
        }
        let mut builder = Schema::structure().basics_of(schema);
        let mut slots = Vec::new();
        for (source, field) in schema.fields().iter().enumerate() {
            let (changed, action) = match tree.node(&field.name) {
                None => (Arc::clone(&field.schema), Action::Copy),
                Some(Node::Leaf(what)) => match leaf(what, &field.schema).map_err(|error| at(&field.name, error))? {
                    Some(changed) => (changed, Action::Change(what.clone())),
                    None => continue,
                },
                Some(Node::Below(tree)) => {
                    let plan = Self::build(&field.schema, tree, Keep::All, leaf, change)
                        .map_err(|error| at(&field.name, error))?;
                    (Arc::clone(&plan.schema), Action::Inside(plan))
                }
            };
            builder = builder.field(Arc::clone(&field.name), changed);
            slots.push(Slot { source, action });
        }
        if keep == Keep::All {
            builder = builder.with_optional(schema.is_optional());
        }
        let mut plan = Self {
            schema: builder.build()?,
            slots,
        };
        if let (Keep::All, Some(Value::Struct(default))) = (keep, schema.default()) {
            // Connect puts the default together from what is stored.
            let changed = plan.apply(default, Nulls::Replaced, change)?;
            let builder = plan.schema.to_builder().default_value(Value::Struct(Box::new(changed)));
            plan.schema = builder.build()?;
        }
        Ok(plan)
    }

    /// The plan for structs whose schema stays as it is.
    ///
    /// # Errors
    /// Something on the way to a field that is no struct.
    pub(crate) fn in_place(schema: &SchemaRef, tree: &FieldTree<T>) -> Result<Self, DataError> {
        let mut slots = Vec::new();
        for (source, field) in schema.fields().iter().enumerate() {
            let action = match tree.node(&field.name) {
                None => Action::Copy,
                Some(Node::Leaf(what)) => Action::Change(what.clone()),
                Some(Node::Below(_)) if field.schema.schema_type() != SchemaType::Struct => {
                    return Err(at(
                        &field.name,
                        DataError::data(format!("a {} has no fields", field.schema.schema_type())),
                    ));
                }
                Some(Node::Below(tree)) => Action::Inside(Self::in_place(&field.schema, tree)?),
            };
            slots.push(Slot { source, action });
        }
        Ok(Self {
            schema: Arc::clone(schema),
            slots,
        })
    }

    /// The changed struct.
    ///
    /// # Errors
    /// What `change` reports, with the field; null in a required field.
    pub(crate) fn apply(&self, source: &Struct, nulls: Nulls, change: ChangeValue<'_, T>) -> Result<Struct, DataError> {
        let mut data = Struct::try_new(Arc::clone(&self.schema))?;
        for (index, slot) in self.slots.iter().enumerate() {
            let value = copied(source, slot.source, nulls)?;
            let field = &source.schema().fields()[slot.source];
            let value = match (&slot.action, value) {
                (Action::Copy, value) => value,
                (Action::Change(what), value) => {
                    change(what, &field.schema, value).map_err(|error| at(&field.name, error))?
                }
                (Action::Inside(plan), Value::Struct(inner)) => {
                    let changed = plan
                        .apply(&inner, nulls, change)
                        .map_err(|error| at(&field.name, error))?;
                    Value::Struct(Box::new(changed))
                }
                (Action::Inside(_), Value::Null) => Value::Null,
                (Action::Inside(_), other) => return Err(no_container(&field.name, "a struct", &other)),
            };
            data.set_unchecked(index, value);
        }
        Ok(data)
    }
}

/// The schema with `fields`, which stand in for those of their names or come at the end.
///
/// # Errors
/// A name that no field may have.
pub(crate) fn with_fields(schema: &Schema, fields: &[(Arc<str>, SchemaRef)]) -> Result<SchemaRef, DataError> {
    let mut builder = Schema::structure()
        .basics_of(schema)
        .with_optional(schema.is_optional());
    for field in schema.fields() {
        let new = fields.iter().find(|(name, _)| *name == field.name);
        let changed = new.map_or(&field.schema, |(_, schema)| schema);
        builder = builder.field(Arc::clone(&field.name), Arc::clone(changed));
    }
    for (name, added) in fields {
        if schema.field_index(name).is_none() {
            builder = builder.field(Arc::clone(name), Arc::clone(added));
        }
    }
    builder.build()
}

/// The values of `source` in a struct of the schema that [`with_fields`] made of its own. Those of the fields named
/// there are still to be set.
///
/// # Errors
/// A schema that is none of a struct.
pub(crate) fn carried_over(source: &Struct, schema: &SchemaRef) -> Result<Struct, DataError> {
    let mut changed = Struct::try_new(Arc::clone(schema))?;
    for (index, value) in source.values().iter().enumerate() {
        changed.set_unchecked(index, value.clone());
    }
    Ok(changed)
}
