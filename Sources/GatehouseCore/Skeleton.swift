// What a username looks like: the form in which two names that are easily confused are the same.

extension Username {
    /// The skeleton of the canonical form (bidiSkeleton of UTS 39 section 4, from left to right). It
    /// is for comparing and nothing else: never shown, and nobody signs in with it.
    ///
    /// Names are written in lower case, so the skeleton is too, and prototypes are taken until it
    /// stays the same: `0`, whose prototype is the capital `O`, looks like `o`.
    package var skeleton: [UInt8] {
        do throws(UnicodeText.Failure) {
            var current = try UnicodeText.mapped(.displayOrder, utf8)
            for _ in 0..<Self.maximumSkeletonRounds {
                let next = try UnicodeText.mapped(
                    .lowerCase, UnicodeText.mapped(.prototypes, current))
                if next == current { break }
                current = next
            }
            return current
        } catch {
            // A name is valid UTF-8, and no character's prototypes take more than
            // `maximumSkeletonExpansion` times its bytes.
            preconditionFailure("every name has a skeleton")
        }
    }

    /// A name that changes for longer would be compared by its last form; no character does.
    private static let maximumSkeletonRounds = 4

    /// Keeps the skeleton of every name within what a mapping gives.
    package static let maximumSkeletonExpansion = UnicodeText.maximumBytes / maximumBytes

    /// What skeletons depend on: our own rule, and ICU's data. Those of another version can't be
    /// compared with ours: a store that holds them takes no new names until they are rewritten.
    package static let skeletonVersion = "1, " + UnicodeText.version
}
