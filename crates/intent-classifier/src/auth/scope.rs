//! What a caller may do.

use std::fmt;

/// One permission. [`Scope::Admin`] holds all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Scope {
    /// Classify texts, and read what they can be taken for.
    Classify,
    /// Send feedback.
    Feedback,
    /// Read feature flags.
    FlagsRead,
    /// Change feature flags.
    FlagsWrite,
    /// Everything.
    Admin,
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scope {
    /// All scopes.
    pub(crate) const ALL: [Self; 5] = [Self::Classify, Self::Feedback, Self::FlagsRead, Self::FlagsWrite, Self::Admin];

    /// Returns the name in tokens and answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Feedback => "feedback",
            Self::FlagsRead => "flags:read",
            Self::FlagsWrite => "flags:write",
            Self::Admin => "admin",
        }
    }

    /// Finds a scope by its name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl Scopes {
    /// Every permission.
    pub(crate) const ALL: Self = Self(0b1_1111);

    /// Collects the scopes that this service knows; a token may name scopes of other services.
    pub(crate) fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(Scope::from_name).fold(Self::default(), Self::with)
    }

    /// Adds a scope.
    pub(crate) fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// Tells whether `scope` is permitted; `flags:write` includes `flags:read`, `admin` includes all.
    pub(crate) fn permit(self, scope: Scope) -> bool {
        let has = |scope: Scope| self.0 & 1 << scope as u8 != 0;
        has(scope) || has(Scope::Admin) || (scope == Scope::FlagsRead && has(Scope::FlagsWrite))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_permits_everything_and_writing_flags_permits_reading_them() {
        for scope in Scope::ALL {
            assert!(Scopes::ALL.permit(scope));
            assert!(Scopes::from_names(["admin"]).permit(scope));
            assert!(!Scopes::default().permit(scope));
            assert_eq!(Scope::from_name(scope.as_str()), Some(scope));
        }
        let writer = Scopes::from_names(["flags:write", "of-another-service"]);
        assert!(writer.permit(Scope::FlagsWrite) && writer.permit(Scope::FlagsRead));
        assert!(!writer.permit(Scope::Classify) && !writer.permit(Scope::Admin));
        assert!(!Scopes::from_names(["flags:read"]).permit(Scope::FlagsWrite));
    }
}
